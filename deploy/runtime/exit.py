"""How a process ends, and how it ends when it must not go on: at once, without a commit.

`os._exit` on purpose: an exception that leaves an agent lets Faust acknowledge what was not done,
and an orderly shutdown commits offsets (ADR 0003).
"""

import os
import sys
from enum import IntEnum
from typing import Any, NoReturn, Self

import structlog

from schemas.formats import NewerFormatError


class ExitCode(IntEnum):
    """Exit codes of our processes and commands, and what each means."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        """Let a member be its number and carry its meaning."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    OK = 0, "done"
    FAILED = 1, "refused, or something is wrong: the last line says what and what to do"
    USAGE = 2, "a wrong argument or variable, or a machine that lacks something: the line names it"
    UNAVAILABLE = 69, "Kafka, Postgres or Redis does not answer: the line says which and where"
    BUG = 70, "a bug; a process is started again by its supervisor"
    STALLED = 71, "the process stood still for longer than its session; it is started again"
    REFUSED = 72, "logs and ledger disagree, or are of a later release: a person must decide"
    INTERRUPTED = 130, "a command was ended by Ctrl-C"


def die(reason: str, code: ExitCode = ExitCode.BUG, **fields: Any) -> NoReturn:
    """Log the reason and end the process at once. Nothing is committed, no handler runs."""
    try:
        structlog.get_logger("exit").critical(reason, exit_code=int(code), **fields)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def die_of(error: BaseException, what: str, **fields: Any) -> NoReturn:
    """End the process for an error that nobody awaited: a bug, or a record of a later release."""
    newer = _newer_format(error)
    if newer is not None:
        die(str(newer), ExitCode.REFUSED, **fields)
    die(f"{what}: {error!r}", **fields)


def _newer_format(error: BaseException) -> NewerFormatError | None:
    if isinstance(error, BaseExceptionGroup):
        found = (_newer_format(one) for one in error.exceptions)
        return next((one for one in found if one is not None), None)
    return error if isinstance(error, NewerFormatError) else None
