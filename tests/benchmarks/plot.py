"""Draws what a race found: `python plot.py FILE.png|.svg`, with the drawing as JSON on stdin.

Runs in the environment of the benchmarks, which has the library; nothing else of ours is needed.
The JSON: {"rates": [bar], "growth": [bar], "shares": [bar]}, a bar being {"label", "contender",
"value", "text"}; bars of one label stand together. White ground, so that it reads in dark pages.
"""

import json
import sys
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = {
    "burnstream": "#d9480f",
    "Kafka Streams": "#1c5d99",
    "Quix Streams": "#5c9ead",
    "usual Faust": "#9db17c",
    "bare COPY": "#6c757d",
}
INK = "#222222"
BAR_INCHES = 0.27
LABEL_GAP_BARS = 0.7
PANEL_INCHES = 1.0
TITLES = {
    "rates": "Throughput, events/s (longer is better)",
    "growth": "Growth: share of the plain rate (1 is no loss)",
    "shares": "Latency, recovery, memory: share of the target (shorter is better, 1 is the target)",
}


def _places(bars: list[dict[str, Any]]) -> list[float]:
    """Return where each bar stands, downwards; labels are a gap apart."""
    places: list[float] = []
    for number, bar in enumerate(bars):
        is_new = number > 0 and bar["label"] != bars[number - 1]["label"]
        before = places[-1] if places else -1.0
        places.append(before + 1.0 + (LABEL_GAP_BARS if is_new else 0.0))
    return places


def _draw(axes: Axes, name: str, bars: list[dict[str, Any]]) -> None:
    places = _places(bars)
    values = [bar["value"] for bar in bars]
    colours = [COLOURS.get(bar["contender"], "#adb5bd") for bar in bars]
    axes.barh(places, values, height=0.9, color=colours)
    for place, bar in zip(places, bars, strict=True):
        axes.annotate(
            bar["text"],
            (bar["value"], place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )
    labels: dict[str, list[float]] = {}
    for place, bar in zip(places, bars, strict=True):
        labels.setdefault(bar["label"], []).append(place)
    axes.set_yticks([sum(of) / len(of) for of in labels.values()], list(labels), fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    limit = max(*values, 0.0 if name == "rates" else 1.0)
    axes.set_xlim(0, limit * 1.32)
    if name != "rates":
        axes.axvline(1.0, color=INK, linewidth=0.8, linestyle=":")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    axes.set_title(TITLES[name], loc="left", fontsize=10.5, fontweight="bold", color=INK)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.7)
    axes.set_axisbelow(True)


def main() -> None:
    """Draw to the file named."""
    mpl.rcParams["svg.hashsalt"] = "burnstream"
    mpl.rcParams["font.family"] = "DejaVu Sans"
    drawing = {name: bars for name, bars in json.load(sys.stdin).items() if bars}
    heights = [_places(bars)[-1] * BAR_INCHES + PANEL_INCHES for bars in drawing.values()]
    figure = Figure(figsize=(10, sum(heights) + 0.4), facecolor="white", layout="constrained")
    figure.get_layout_engine().set(h_pad=0.14)
    panels = figure.subplots(len(drawing), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axes, (name, bars) in zip(panels[:, 0], drawing.items(), strict=True):
        _draw(axes, name, bars)
    figure.savefig(sys.argv[1], dpi=130, facecolor="white", metadata=None)


if __name__ == "__main__":
    main()
