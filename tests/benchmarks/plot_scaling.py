"""Draws workers joining: `python plot_scaling.py FILE.svg|.png`, with the samples as JSON on stdin.

Runs in the environment of the benchmarks, as plot.py does. The JSON: {"stages": [{"workers",
"begin", "end"}], "samples": [{"at", "waiting", "rated": {worker: events}}]}, times in seconds.
"""

import json
import sys
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

COLOURS = ["#d9480f", "#1c5d99", "#9db17c", "#6c757d"]
INK = "#222222"
SMOOTH_SAMPLES = 4


def _rates(samples: list[dict[str, Any]], worker: str) -> list[float]:
    """Return events per second over the last few samples, at each of them."""
    found = []
    for number, sample in enumerate(samples):
        before = samples[max(0, number - SMOOTH_SAMPLES)]
        seconds = sample["at"] - before["at"]
        is_there = seconds > 0 and worker in sample["rated"]
        grown = sample["rated"][worker] - before["rated"].get(worker, 0) if is_there else 0
        found.append(grown / seconds if is_there else 0.0)
    return found


def main() -> None:
    """Draw to the file named."""
    mpl.rcParams["svg.hashsalt"] = "burnstream"
    mpl.rcParams["font.family"] = "DejaVu Sans"
    kept = json.load(sys.stdin)
    samples, stages = kept["samples"], kept["stages"]
    times = [one["at"] for one in samples]
    workers = sorted({name for one in samples for name in one["rated"]})
    figure = Figure(figsize=(10, 5.4), facecolor="white", layout="constrained")
    shares, lag = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [2, 1]})
    shares.stackplot(
        times, *(_rates(samples, name) for name in workers), labels=workers, colors=COLOURS
    )
    shares.set_title(
        "Events rated per second, by worker", loc="left", fontsize=10.5, fontweight="bold"
    )
    shares.legend(
        loc="lower right", bbox_to_anchor=(1, 1), fontsize=8.5, ncols=len(workers), frameon=False
    )
    lag.plot(times, [one["waiting"] for one in samples], color=INK, linewidth=1.1)
    lag.set_title(
        "Records of usage.raw not yet in the ledger", loc="left", fontsize=10.5, fontweight="bold"
    )
    lag.set_xlabel("seconds")
    for axes in (shares, lag):
        for stage in stages[1:]:
            axes.axvline(stage["begin"], color=INK, linewidth=0.8, linestyle=":")
        axes.set_xlim(times[0], times[-1])
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color="#e5e5e5", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    is_svg = sys.argv[1].endswith(".svg")
    figure.savefig(
        sys.argv[1], dpi=130, facecolor="white", metadata={"Date": None} if is_svg else None
    )


if __name__ == "__main__":
    main()
