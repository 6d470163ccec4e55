"""How long the questions of `docs/analyse.md` take: `python -m tests.benchmarks.analysts`."""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from deploy.local.ports import free_port
from deploy.local.postgres_server import PostgresServer
from deploy.local.progress import Progress
from deploy.runtime.progress_bar import with_progress
from sinks import analysts
from sinks.migrations import migrate

ROWS = int(os.environ.get("ROWS", "10000000"))
SLICES = 50
# Thirty days, a thousand customers of very different size, events up to minutes late.
SLICE = b"""
INSERT INTO "UsageEvent" (id, customer_id, event_type, feature_id, provider, model, input_tokens,
    output_tokens, credits_burned, cost_usd, "timestamp", created_at, source_partition,
    source_epoch, source_offset, source_index)
SELECT gen_random_uuid(), 'cust-' || (power(random(), 3) * 1000)::int, 'TOKEN_USAGE',
    'feature-' || (random() * 5)::int, 'OPENAI', 'model-' || (random() * 9)::int,
    1000 * random(), 500 * random(), 1 + 20 * random(), (random() * 0.02)::numeric(12, 6),
    timestamptz '2026-11-01' + interval '30 days' * n / %(rows)s - interval '5 minutes' * random(),
    timestamptz '2026-11-01' + interval '30 days' * n / %(rows)s, n %% 4, 0, n, 0
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
"""
QUESTIONS = {
    "a day, by customer, model and feature": "SELECT * FROM burn_per_day WHERE day = '2026-11-20'",
    "a week's burn, by day": (
        "SELECT day, sum(credits) FROM burn_per_day "
        "WHERE day BETWEEN '2026-11-14' AND '2026-11-20' GROUP BY day"
    ),
    "a month of one customer": "SELECT * FROM burn_per_day WHERE customer_id = 'cust-500'",
    "a month's margin, by day": (
        "SELECT day, sum(margin_usd) FROM cost_against_credits "
        "WHERE day BETWEEN '2026-11-01' AND '2026-11-30' GROUP BY day"
    ),
    "top movers of a day": "SELECT * FROM top_movers('2026-11-20') LIMIT 10",
    "a customer's charges of a day": (
        "SELECT * FROM charges WHERE customer_id = 'cust-500' AND day = '2026-11-20'"
    ),
}


def _fill(ledger: psycopg.Connection[Any]) -> None:
    size = ROWS // SLICES
    for number in with_progress("rows", range(SLICES), SLICES):
        first = number * size
        ledger.execute(SLICE, {"rows": ROWS, "first": first, "last": first + size - 1})
    ledger.execute('VACUUM ANALYZE "UsageEvent"')


def main() -> None:
    """Fill a ledger, ask each question twice as an analyst, print how long the second took."""
    with tempfile.TemporaryDirectory(prefix="burnstream-analysts-") as folder:
        Path(folder).chmod(0o755)
        server = PostgresServer(Path(folder) / "postgres", free_port())
        server.prepare(Progress())
        server.start()
        try:
            _measure(server)
        finally:
            server.stop()


def _measure(server: PostgresServer) -> None:
    with psycopg.connect(server.url_of("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE ledger")
    url = server.url_of("ledger")
    migrate(url)
    with psycopg.connect(url, autocommit=True) as ledger:
        _fill(ledger)
        password = analysts.create(ledger, "ann")
    print("| question | rows | seconds |\n|---|---|---|")
    with psycopg.connect(url, user="ann", password=password, autocommit=True) as analyst:
        for name, question in QUESTIONS.items():
            _ask(analyst, question)
            rows, seconds = _ask(analyst, question)
            print(f"| {name} | {rows:,} | {seconds:.2f} |")


def _ask(analyst: psycopg.Connection[Any], question: str) -> tuple[int, float]:
    began = time.perf_counter()
    rows = analyst.execute(question.encode()).fetchall()
    return len(rows), time.perf_counter() - began


if __name__ == "__main__":
    main()
