"""Ours beside the baselines: each alone while it runs, in turn, as often as wanted."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from deploy.bench import e2e, gateway, recovery, sink, stream
from deploy.bench.arena import Arena, MeasurementError
from deploy.bench.figures import Figure, medians
from deploy.bench.workload import CUSTOMERS_DEFAULT, Workload
from tests.benchmarks import bare_copy, goals
from tests.benchmarks.contenders import CannotCompete, contenders

LATE_COPIES = 0.05
GROWTH = 10


class Sizes(NamedTuple):
    """How much each measure works on. `slow_events`: of contenders that are a tenth as fast."""

    runs: int
    stream_events: int
    slow_events: int
    sink_events: int
    http_events: int
    singles: int
    steady_seconds: float
    identities: int
    ledger_rows: int
    price_rows: int


FULL = Sizes(3, 400_000, 40_000, 400_000, 300_000, 4_000, 20.0, 10_000_000, 10_000_000, 100_000)
QUICK = Sizes(1, 40_000, 5_000, 50_000, 30_000, 1_000, 5.0, 200_000, 500_000, 20_000)


@dataclass(slots=True)
class Race:
    """The measures of one series. `left_out`: who did not run, and why."""

    arena: Arena
    sizes: Sizes
    left_out: dict[str, str] = field(default_factory=dict)

    def run(self, names: Iterable[str]) -> Iterator[list[Figure]]:
        """Yield the figures of each measure, medians of its runs."""
        for name in names:
            yield medians(list(MEASURES[name](self)))

    @property
    def seeds(self) -> range:
        """One for each run, so that no run reads the records of another."""
        return range(1, self.sizes.runs + 1)

    def stream(self) -> Iterator[list[Figure]]:
        """The stream stage, records of 1 and of 50 events."""
        for seed in self.seeds:
            for size, name in ((1, goals.STREAM_1), (50, goals.STREAM_50)):
                yield [replace(one, measure=name) for one in self._stream_stage(size, seed)]

    def _stream_stage(self, size: int, seed: int) -> Iterator[Figure]:
        workload = Workload(self.sizes.stream_events, size, seed=seed)
        yield stream.measure(self.arena, workload)
        for contender in contenders():
            is_slow = contender.name == goals.USUAL_FAUST
            events = self.sizes.slow_events if is_slow else workload.events
            try:
                yield stream.measure(self.arena, replace(workload, events=events), contender)
            except (CannotCompete, MeasurementError) as reason:
                self.left_out[contender.name] = str(reason)
                self.arena.progress.say(f"{contender.name} is left out: {reason}")

    def sink(self) -> Iterator[list[Figure]]:
        """The sink beside bare COPY, and with late duplicates beside itself."""
        for seed in self.seeds:
            workload = sink.workload_of(self.sizes.sink_events, seed=seed)
            with self.arena.course(workload.customer_ids) as course:
                ours = sink.run(course, workload)
                transactions = bare_copy.read_transactions(course.database_url)
            theirs = bare_copy.measure(self.arena, workload.customer_ids, transactions)
            del transactions
            copies = sink.workload_of(self.sizes.sink_events, late_copies=LATE_COPIES, seed=seed)
            with_copies = sink.measure(self.arena, copies)
            yield [ours, theirs, replace(with_copies, measure=goals.SINK_COPIES)]

    def gateway(self) -> Iterator[list[Figure]]:
        """One gateway: batches of 100, then single events."""
        for seed in self.seeds:
            workload = gateway.workload_of(self.sizes.http_events, 100, seed)
            yield gateway.measure(self.arena, workload, self.sizes.singles)

    def e2e(self) -> Iterator[list[Figure]]:
        """The whole way, and its latency at a quarter of the load."""
        for seed in self.seeds:
            workload = Workload(self.sizes.http_events, 100, seed=seed)
            yield e2e.measure(self.arena, workload, self.sizes.steady_seconds)

    def recovery(self) -> Iterator[list[Figure]]:
        """A new worker where many identities are remembered."""
        yield from recovery.measure(
            self.arena, self.sizes.identities, self.sizes.runs, CUSTOMERS_DEFAULT
        )

    def growth(self) -> Iterator[list[Figure]]:
        """More customers, a longer price list, a larger ledger, each beside the plain figure."""
        many = CUSTOMERS_DEFAULT * GROWTH
        filled = sink.workload_of(0)
        ledger = self.arena.make_database(filled.customer_ids)
        sink.prefill(self.arena, ledger, self.sizes.ledger_rows)
        for seed in self.seeds:
            plain = Workload(self.sizes.stream_events, 50, seed=seed)
            yield [
                replace(figure, measure=name)
                for name, figure in (
                    (goals.STREAM_PLAIN, stream.measure(self.arena, plain)),
                    (
                        goals.STREAM_CUSTOMERS,
                        stream.measure(self.arena, replace(plain, customers=many)),
                    ),
                    (
                        goals.STREAM_PRICES,
                        stream.measure(self.arena, plain, price_rows=self.sizes.price_rows),
                    ),
                )
            ]
            yield self._sink_growth(seed, many, ledger)
        self.arena.drop_database(ledger)

    def _sink_growth(self, seed: int, many: int, ledger: str) -> list[Figure]:
        plain = sink.workload_of(self.sizes.sink_events, seed=seed)
        return [
            replace(sink.measure(self.arena, plain), measure=goals.SINK_PLAIN),
            replace(
                sink.measure(self.arena, replace(plain, customers=many)),
                measure=goals.SINK_CUSTOMERS,
            ),
            replace(
                sink.measure(self.arena, plain, self.sizes.ledger_rows, ledger),
                measure=goals.SINK_LEDGER,
            ),
        ]


MEASURES: dict[str, Callable[[Race], Iterator[list[Figure]]]] = {
    "stream": Race.stream,
    "sink": Race.sink,
    "gateway": Race.gateway,
    "e2e": Race.e2e,
    "recovery": Race.recovery,
    "growth": Race.growth,
}


def chosen(only: Sequence[str]) -> list[str]:
    """Return the measures wanted, all without a wish, in their order."""
    return [name for name in MEASURES if not only or name in only]
