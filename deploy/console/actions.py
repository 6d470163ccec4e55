"""What an operator does to dead letters, by the functions that `burnstream dead-letters` calls.

An action runs beside the console's pages, in a thread of its own with a connection and a producer
of its own, and goes on when the browser leaves. What was done stands in the letters' rows, with who
and why, and in the log; the page of an action is memory and ends with the process.
"""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import psycopg
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from deploy.console import metrics
from deploy.runtime.kafka import producer_options, stop_in_time
from deploy.runtime.settings import RuntimeSettings
from schemas.topics import RAW_MESSAGE_BYTES_MAX
from sinks import dead_letters

_log = structlog.get_logger("console")

KEPT_MAX = 100
LOGGED_LETTERS_MAX = 50
CONNECT_TIMEOUT_SECONDS = 10
PRODUCER_STOP_SECONDS = 5.0


class Verb(StrEnum):
    """What is done to the letters."""

    REPLAY = "replay"
    DISCARD = "discard"


_PAST = {Verb.REPLAY: "replayed", Verb.DISCARD: "discarded"}


@dataclass(slots=True)
class Action:
    """One order of an operator, under way or ended. `outcomes`: what became of each letter."""

    id: str
    verb: Verb
    by: str
    reason: str | None
    letter_ids: Sequence[str]
    begun_at: datetime
    outcomes: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    ended_at: datetime | None = None

    @property
    def is_running(self) -> bool:
        """Whether letters still wait for their turn."""
        return self.ended_at is None


class Actions:
    """Starts actions and remembers the last ones."""

    def __init__(self, settings: RuntimeSettings) -> None:
        self._settings = settings
        self._actions: dict[str, Action] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def find(self, action_id: str) -> Action | None:
        """Return an action, None when it is not remembered."""
        return self._actions.get(action_id)

    def recent(self) -> list[Action]:
        """Return those remembered, the newest first."""
        return list(reversed(self._actions.values()))

    def begin(self, verb: Verb, letter_ids: Sequence[str], by: str, reason: str | None) -> Action:
        """Start an action and return it."""
        if len(self._actions) >= KEPT_MAX:
            self._actions.pop(next(iter(self._actions)))
        action = Action(
            secrets.token_hex(8), verb, by, reason, tuple(letter_ids), datetime.now(UTC)
        )
        self._actions[action.id] = action
        _log.info("Action begun", action=verb, by=by, letters=len(letter_ids), reason=reason)
        task = asyncio.create_task(asyncio.to_thread(_carry_out, self._settings, action))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return action

    async def finish(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _carry_out(settings: RuntimeSettings, action: Action) -> None:
    """Do it, letter by letter; what goes wrong ends the action and is said for the rest."""
    try:
        with psycopg.connect(
            settings.database_url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            application_name="burnstream-console-action",
        ) as connection:
            if action.verb is Verb.REPLAY:
                asyncio.run(_replay(settings, connection, action))
            else:
                _discard(connection, action)
    except (psycopg.Error, KafkaError, OSError, TimeoutError) as error:
        _fail_the_rest(action, f"not done: {' '.join(str(error).split()) or type(error).__name__}")
    except Exception as error:
        _fail_the_rest(action, f"not done: {type(error).__name__}")
        raise
    finally:
        action.ended_at = datetime.now(UTC)
        _report(action)


async def _replay(
    settings: RuntimeSettings, connection: psycopg.Connection[Any], action: Action
) -> None:
    producer = AIOKafkaProducer(
        **producer_options(settings, "console"), max_request_size=2 * RAW_MESSAGE_BYTES_MAX
    )
    try:
        await producer.start()
        for letter_id in action.letter_ids:
            # One by one: a letter that is not to be replayed holds up no other.
            try:
                (place,) = await dead_letters.replay(
                    connection,
                    producer,
                    settings.topics.raw,
                    dead_letters.get(connection, [letter_id]),
                    by=action.by,
                    reason=action.reason,
                )
            except dead_letters.DeadLetterError as error:
                action.failures[letter_id] = str(error)
            else:
                action.outcomes[letter_id] = f"replayed as {place or 'a record that Kafka had'}"
    finally:
        await stop_in_time(producer, PRODUCER_STOP_SECONDS)


def _discard(connection: psycopg.Connection[Any], action: Action) -> None:
    for letter_id in action.letter_ids:
        try:
            letters = dead_letters.get(connection, [letter_id])
        except dead_letters.DeadLetterError as error:
            action.failures[letter_id] = str(error)
            continue
        if dead_letters.discard(connection, letters, by=action.by, reason=action.reason or ""):
            action.outcomes[letter_id] = "discarded"
        else:
            action.failures[letter_id] = f"was {letters[0].status} already: left as it is"


def _fail_the_rest(action: Action, message: str) -> None:
    for letter_id in action.letter_ids:
        if letter_id not in action.outcomes:
            action.failures.setdefault(letter_id, message)


def _report(action: Action) -> None:
    metrics.LETTERS.labels(_PAST[action.verb]).inc(len(action.outcomes))
    metrics.LETTERS.labels("failed").inc(len(action.failures))
    _log.info(
        "Action ended",
        action=action.verb,
        by=action.by,
        done=len(action.outcomes),
        failed=len(action.failures),
        reason=action.reason,
        letters=list(action.outcomes)[:LOGGED_LETTERS_MAX],
    )
