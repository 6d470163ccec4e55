"""Deaths at one record are counted over the processes that die."""

from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from streams.last_death import FILE_NAME, LastDeath


def started(folder: Path) -> tuple[LastDeath, str]:
    """Return what a process finds that has just started, and what it shows."""
    registry = CollectorRegistry()
    gauge = Gauge("deaths", "Deaths.", ["partition", "offset"], registry=registry)
    last = LastDeath(folder, gauge)
    return last, shown(registry)


def shown(registry: CollectorRegistry) -> str:
    lines = generate_latest(registry).decode().splitlines()
    return " ".join(line for line in lines if not line.startswith("#"))


def test_deaths_at_one_record_add_up(tmp_path: Path) -> None:
    """Each process that dies there counts one more; the next one shows it."""
    for times in range(3):
        last, seen = started(tmp_path)
        assert seen == (f'deaths{{offset="41",partition="2"}} {times}.0' if times else "")
        last.note(2, 41)
    assert started(tmp_path)[0].death is not None


def test_a_death_elsewhere_begins_anew(tmp_path: Path) -> None:
    """Two records that kill in turn are no loop at one of them."""
    started(tmp_path)[0].note(2, 41)
    started(tmp_path)[0].note(2, 42)
    death = started(tmp_path)[0].death
    assert death is not None
    assert (death.offset, death.times) == (42, 1)


def test_a_death_is_forgotten_once_its_record_is_rated(tmp_path: Path) -> None:
    """Positions of other partitions, and the record itself being next, do not count."""
    started(tmp_path)[0].note(2, 41)
    last, _ = started(tmp_path)
    last.passed(1, 1_000)
    last.passed(2, 41)
    assert last.death is not None
    last.passed(2, 42)
    assert last.death is None
    assert started(tmp_path)[1] == ""


def test_half_a_file_is_as_good_as_none(tmp_path: Path) -> None:
    """A worker starts whatever stands there."""
    (tmp_path / FILE_NAME).write_text('{"partition": 1')
    assert started(tmp_path)[0].death is None
