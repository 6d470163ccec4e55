"""Random histories of the protocol: none has a fault, and each rule taken away is noticed.

EXPLORER_HISTORIES=100000 plays that many; EXPLORER_FIRST_SEED goes on where others ended.
"""

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from tests.property.chain.broken_rules import BROKEN, BrokenRules
from tests.property.chain.explorer import History, Played, played
from tests.property.chain.folding import be_quiet
from tests.property.chain.workers import Rules

HISTORIES = int(os.environ.get("EXPLORER_HISTORIES", "1000"))
FIRST_SEED = int(os.environ.get("EXPLORER_FIRST_SEED", "0"))
HISTORIES_OF_A_CONTROL_MAX = 2_000
CHUNK = 5_000
MADE_GOOD = [rules for rules in BROKEN if not rules.sends_chains]
# What a thousand histories must have come across, or they explore less than they say.
MUST_BE_MET = {
    "batch lost with its writer",
    "batch landed though its writer died",
    "batch landed late",
    "run dropped by a rebalance",
    "run read from beyond the position",
    "offsets without a record",
    "folded on: somebody else wrote",
    "folded anew: the log was cut",
    "fold begun in the middle",
    "fold begun at the start",
    "batch clipped",
    "batch ignored as a replay",
    "batch passed over",
    "ledger restored",
    "raw log made again",
    "letter replayed and marked",
    "letter replayed and not marked",
    "letter replayed again",
    "event corrected",
    "letter UNPRICED",
    "letter BAD_SCHEMA",
    "letter NOT_JSON",
    "letter QUARANTINED",
    "letter UNKNOWN_CUSTOMER",
    "letter ORIGINAL_NOT_CHARGED",
    "duplicate within a batch",
    "duplicate by seen",
    "duplicate by Postgres",
    "window over",
}


@pytest.mark.timeout(120 + HISTORIES // 20)
def test_every_good_usage_is_charged_exactly_once_in_every_history(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is lost, doubled, given two verdicts or stuck, whatever happens in between."""
    met: Counter[str] = Counter()
    end = FIRST_SEED + HISTORIES
    chunks = [range(at, min(at + CHUNK, end)) for at in range(FIRST_SEED, end, CHUNK)]
    for seeds, (met_here, failure) in zip(chunks, each_played(chunks), strict=True):
        met += met_here

        assert failure is None, f"History({failure[0]}, Rules()).play(): {failure[1]}"
        if HISTORIES > CHUNK:
            with capsys.disabled():
                print(f"explorer: seeds {FIRST_SEED} to {seeds.stop - 1} of {end - 1}", flush=True)

    print(f"{HISTORIES} histories from seed {FIRST_SEED} met", dict(met.most_common()))
    assert HISTORIES < 1_000 or MUST_BE_MET - met.keys() == set()


def each_played(chunks: list[range]) -> Iterator[Played]:
    """Play chunks of seeds, by all processors when they are several."""
    if len(chunks) == 1:
        yield played(chunks[0])
        return
    # Begun from scratch: a fork of the test session would have its threads' locks.
    with ProcessPoolExecutor(
        os.cpu_count(), get_context("spawn"), initializer=be_quiet
    ) as processes:
        yield from processes.map(played, chunks)


@pytest.mark.parametrize("rules", BROKEN, ids=lambda rules: rules.__name__)
def test_each_rule_taken_away_is_noticed(rules: type[BrokenRules]) -> None:
    """The explorer finds the fault that the rule is there for, soon."""
    found = played(range(HISTORIES_OF_A_CONTROL_MAX), rules())[1]

    assert found is not None, f"{HISTORIES_OF_A_CONTROL_MAX} histories without a fault"
    seed, faults = found
    kinds = {fault.split(":")[0] for fault in faults}
    assert kinds & set(rules.found_as), f"seed {seed}: {faults}"


@pytest.mark.parametrize("rules", MADE_GOOD, ids=lambda rules: rules.__name__)
def test_a_wrong_duplicate_costs_a_detour_and_no_event(rules: type[BrokenRules]) -> None:
    """What the streams wrongly call a duplicate is charged in the end, if the sink verifies."""
    variant = rules()
    variant.verifies_duplicates = variant.sends_chains = True

    assert played(range(HISTORIES_OF_A_CONTROL_MAX // 10), variant)[1] is None


def test_without_chains_no_duplicate_needs_verification() -> None:
    """So a fault of the variants that believe duplicates is the fault of the rule they lack."""
    variant = Rules()
    variant.verifies_duplicates = variant.sends_chains = False

    assert played(range(HISTORIES_OF_A_CONTROL_MAX // 4), variant)[1] is None


def test_a_history_is_its_seed() -> None:
    """A failing seed can be played again, step by step."""
    one, other = History(11, Rules()), History(11, Rules())
    one.play()
    other.play()

    assert one.world.met == other.world.met
    assert one.world.rated == other.world.rated
    assert one.world.ledger == other.world.ledger
