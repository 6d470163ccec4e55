"""How a process ends when it must not go on: at once, without a commit, saying why.

`os._exit` on purpose: an exception that leaves an agent lets Faust acknowledge what was not done,
and an orderly shutdown commits offsets (ADR 0003).
"""

import os
import sys
from enum import IntEnum
from typing import Any, NoReturn

import structlog


class ExitCode(IntEnum):
    """Exit codes of our processes and commands."""

    OK = 0
    FAILED = 1  #: a command could not do what it was asked
    USAGE = 2  #: a wrong argument or environment variable
    BUG = 70  #: something that must not happen; the supervisor starts the process again
    STALLED = 71  #: the event loop stood still, or the process slept, longer than its session
    REFUSED = 72  #: the logs and the ledger disagree in a way that a person must decide


def die(reason: str, code: ExitCode = ExitCode.BUG, **fields: Any) -> NoReturn:
    """Log the reason and end the process at once. Nothing is committed, no handler runs."""
    try:
        structlog.get_logger("exit").critical(reason, exit_code=int(code), **fields)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
