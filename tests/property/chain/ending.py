"""The end of a history: everything comes that can; what waits is replayed until nothing does."""

from collections.abc import Callable, Mapping

from schemas.dead_letter import Position, Reason
from tests.property.chain.model import LATE, STEADY
from tests.property.chain.workers import Rules, Sink, StreamsWorker, replay
from tests.property.chain.world import PARTITIONS, World

REPLAYABLE = {
    Reason.UNPRICED,
    Reason.ORIGINAL_NOT_CHARGED,
    Reason.UNKNOWN_CUSTOMER,
    Reason.QUARANTINED,
}
ROUNDS_MAX = 8
RUNS_MAX = 400

Home = Callable[[Position], int]


def let_everything_come(
    world: World, rules: Rules, owners: Mapping[int, StreamsWorker], sink: Sink, home: Home
) -> None:
    """Publish all prices, create all customers, drain the logs and replay the letters that wait.

    `home`: to which partition a letter is replayed.
    """
    for model in (STEADY, LATE):
        world.set_rate(model, 1)
    for worker in owners.values():
        worker.book = world.book
    for _ in range(ROUNDS_MAX):
        world.ledger.customers.add("cleo")
        _drain(world, owners, sink)
        waiting = [
            at
            for at, letter in world.ledger.letters.items()
            if letter.is_open and letter.reason in REPLAYABLE
        ]
        if not waiting:
            return
        for at in waiting:
            replay(world, rules, at, home(at))


def _drain(world: World, owners: Mapping[int, StreamsWorker], sink: Sink) -> None:
    for partition in PARTITIONS:
        worker, log = owners[partition], world.raw[partition]
        for _ in range(RUNS_MAX):
            worker.run(partition)
            if not log.read(min(worker.position(partition), worker.cursors[partition]), 1):
                break
    while sink.transact(PARTITIONS, 10):
        pass
