"""Figures as a table in Markdown, readable as it stands. Pure."""

from collections.abc import Iterable, Sequence

from deploy.bench.figures import Figure, significant
from tests.benchmarks.goals import Comparison

HEAD = ("measure", "ours", "CPU us", "beside", "theirs", "CPU us", "reached", "target", "floor", "")
BEGIN = "<!-- results: begin -->"
END = "<!-- results: end -->"


def table(comparisons: Iterable[Comparison]) -> str:
    """Return one row for each comparison; CPU is the measured process's own, by event."""
    return _markdown([HEAD, *(_row(one) for one in comparisons)])


def _row(one: Comparison) -> Sequence[str]:
    goal, theirs = one.goal, one.theirs
    return (
        goal.measure + _conditions(one.ours),
        _value(one.ours),
        _cpu(one.ours),
        "" if theirs is None else _besides(one),
        "" if theirs is None else _value(theirs),
        "" if theirs is None else _cpu(theirs),
        f"{significant(one.reached, 3):g} x" if theirs else "",
        _bound(goal.target, one),
        _bound(goal.floor, one),
        one.verdict,
    )


def _besides(one: Comparison) -> str:
    theirs = one.theirs
    if theirs is None:
        return ""
    name = theirs.contender if theirs.contender != one.ours.contender else theirs.measure
    return f"{name} ({theirs.events:,} events)" if theirs.events < one.ours.events else name


def _conditions(figure: Figure) -> str:
    shown = {"ledger_rows", "price_rows", "identities", "customers"}
    texts = [
        f"{value:,} {name.replace('_', ' ')}"
        for name, value in figure.conditions.items()
        if name in shown
    ]
    return f" ({', '.join(texts)})" if texts else ""


def _value(figure: Figure) -> str:
    rounded = significant(figure.value, 3)
    return f"{rounded:,.0f} {figure.unit}" if rounded >= 1_000 else f"{rounded:g} {figure.unit}"


def _cpu(figure: Figure) -> str:
    """The measured process, and of the whole way each of them."""
    if "worker" in figure.cpu:
        return f"{figure.cpu['worker']:.1f}"
    ours = [
        f"{name} {figure.cpu[name]:.0f}"
        for name in ("gateway", "streams", "sinks")
        if name in figure.cpu
    ]
    return ", ".join(ours)


def _bound(bound: float | None, one: Comparison) -> str:
    if bound is None:
        return ""
    if one.theirs is not None:
        return f"{bound:g} x"
    return f"{'<=' if one.goal.is_less_better else '>='} {bound:,g}"


def details(figures: Iterable[Figure]) -> str:
    """Return every figure with all its CPU times and its runs."""
    rows = [("figure", "of", "median", "runs", "CPU us by event")]
    for one in figures:
        cpu = ", ".join(f"{name} {spent:.1f}" for name, spent in one.cpu.items())
        runs = ", ".join(f"{significant(run, 3):,g}" for run in one.runs)
        rows.append((one.measure + _conditions(one), one.contender, _value(one), runs, cpu))
    return _markdown(rows)


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def with_results(page: str, results: str) -> str:
    """Return the page with what stands between the two marks replaced. Raises ValueError."""
    before, mark, rest = page.partition(BEGIN)
    _, end_mark, after = rest.partition(END)
    if not mark or not end_mark:
        raise ValueError(f"the page lacks {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n\n{results.strip()}\n\n{END}{after}"
