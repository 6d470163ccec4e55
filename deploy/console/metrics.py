"""What the console counts. No label names a customer or a key."""

from prometheus_client import Counter

WRONG_KEYS = Counter("burnstream_console_wrong_keys", "Admin keys shown that are nobody's.")
LETTERS = Counter(
    "burnstream_console_dead_letters",
    "Dead letters by what an operator did: replayed, discarded, failed.",
    ["outcome"],
)
for _outcome in ("replayed", "discarded", "failed"):
    LETTERS.labels(_outcome)  # A series from the start: `increase` sees the first one.
