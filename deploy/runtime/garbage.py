"""Garbage collection for processes that make and drop many small objects, batch by batch."""

import gc

# Objects made and not yet dropped before the youngest are looked through. A batch in hand holds
# tens of thousands, none of them garbage: the usual 700 had each looked through several times, an
# eighth of the CPU of a streams worker.
YOUNG_OBJECTS_MAX = 100_000


def spare_batches() -> None:
    """Look seldom for garbage in cycles, and never among what was imported."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS_MAX)
