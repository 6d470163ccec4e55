"""`make bench`, or `python -m tests.benchmarks`: ours beside the baselines, in one go.

Prints a table and keeps figures, table and plot in test-artefacts/bench. `--quick` takes a few
minutes, `--only stream sink` measures a part, `--write-docs` puts the table into
docs/benchmarks.md, `--from FILE` prints kept figures again without measuring.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from deploy.bench.arena import ARTEFACTS, Arena, Given, MeasurementError
from deploy.bench.figures import Figure
from deploy.local.ports import CannotStart
from deploy.local.progress import Progress
from deploy.local.servers import REPOSITORY
from tests.benchmarks import report
from tests.benchmarks.contenders import bench_python
from tests.benchmarks.drawing import drawing
from tests.benchmarks.goals import compare
from tests.benchmarks.race import FULL, MEASURES, QUICK, Race, chosen

PAGE = REPOSITORY / "docs" / "benchmarks.md"
PLOT_PROGRAM = Path(__file__).with_name("plot.py")


def main() -> None:
    """Measure what is wanted, and say it."""
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few events, one run")
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=[], metavar="MEASURE")
    parser.add_argument("--runs", type=int, help="runs of each; the median is given")
    parser.add_argument("--json", action="store_true", help="one JSON object per figure")
    parser.add_argument(
        "--plot", type=Path, default=ARTEFACTS / "benchmarks.png", help=".png, .svg"
    )
    parser.add_argument("--write-docs", action="store_true", help="into docs/benchmarks.md")
    parser.add_argument("--from", dest="kept", type=Path, help="figures kept by an earlier run")
    parser.add_argument("--code", type=Path, default=REPOSITORY, help="checkout to measure")
    options = parser.parse_args()
    figures, conditions = _kept(options.kept) if options.kept else _measured(options)
    if options.json:
        print("\n".join(json.dumps(figure.as_json()) for figure in figures))
    results = "\n\n".join([conditions, report.table(compare(figures)), report.details(figures)])
    print(results, file=sys.stderr if options.json else sys.stdout)
    if options.write_docs:
        PAGE.write_text(report.with_results(PAGE.read_text(), results))
    _plot(figures, options.plot)


def _measured(options: argparse.Namespace) -> tuple[list[Figure], str]:
    sizes = QUICK if options.quick else FULL
    if options.runs:
        sizes = sizes._replace(runs=options.runs)
    figures: list[Figure] = []
    try:
        with Arena.open(Given(code=options.code), Progress()) as arena:
            race = Race(arena, sizes)
            for found in race.run(chosen(options.only)):
                figures += found
                _keep(figures, "")
    except (CannotStart, MeasurementError) as reason:
        sys.exit(f"benchmarks: {reason}")
    conditions = _conditions(race)
    _keep(figures, conditions)
    return figures, conditions


def _conditions(race: Race) -> str:
    """Return where, when and how it was measured, and who did not take part."""
    busy = os.getloadavg()[1] / (os.cpu_count() or 1)
    where = (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores,"
        f" Python {platform.python_version()}; median of {race.sizes.runs}; load of the machine"
        f" at the end {busy:.1f} a core."
    )
    lines = [where] + [f"{name} is left out: {reason}." for name, reason in race.left_out.items()]
    return "\n".join(lines)


def _keep(figures: list[Figure], conditions: str) -> None:
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    kept = {"conditions": conditions, "figures": [figure.as_json() for figure in figures]}
    (ARTEFACTS / "figures.json").write_text(json.dumps(kept, indent=1))


def _kept(path: Path) -> tuple[list[Figure], str]:
    kept = json.loads(path.read_text())
    return [Figure.from_json(one) for one in kept["figures"]], kept["conditions"]


def _plot(figures: list[Figure], path: Path) -> None:
    """Let the plot be drawn by the Python that has the library."""
    python = bench_python()
    if python is None:
        print("no plot: its packages are not installed (make bench does)", file=sys.stderr)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    bars = json.dumps(drawing(figures, compare(figures)))
    subprocess.run([str(python), str(PLOT_PROGRAM), str(path)], input=bars, text=True, check=True)
    print(f"plot: {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
