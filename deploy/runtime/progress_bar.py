"""Long work in sight: a bar on a terminal, a line now and then elsewhere. On stderr, always."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_INTERVAL_SECONDS = 5.0

Item = TypeVar("Item")
Tell = Callable[[int, int], None]


def tell_nobody(done: int, total: int) -> None:
    """Stand in where nobody watches."""


@contextmanager
def progress_bar(what: str) -> Iterator[Tell]:
    """Yield what is to be told how much is done, of how much."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(console, what)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def with_progress(what: str, items: Iterable[Item], total: int) -> Iterator[Item]:
    """Hand the items on and show how many of them are done."""
    with progress_bar(what) as tell:
        tell(0, total)
        for number, item in enumerate(items, start=1):
            yield item
            tell(number, total)


def _lines(console: Console, what: str) -> Tell:
    said_at = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= LINE_INTERVAL_SECONDS:
            said_at = time.monotonic()
            console.print(f"{what}: {done:,} of {total:,}", soft_wrap=True, highlight=False)

    return tell
