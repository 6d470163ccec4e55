"""Load with duplicates, over HTTP and straight to Kafka, until it is told to stop.

What a producer may do, it does: the same event again, the same id under another key, the same key
under another id; within a record, across records, partitions and doors; in transactions, some of
them aborted and some of those sent again. A delivery counts when it was acknowledged; one whose
answer was lost is sent again until it is.
"""

import asyncio
import random
import threading
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from tests.crash.kafka_door import Ending, KafkaDoor, RawRecord
from tests.crash.model import Model, Usage
from tests.waiting import wait_until

SHARE_OF_DUPLICATES = 0.2
SHARE_WITHIN_A_RECORD = 0.2  # of the duplicates
SHARE_OF_ABORTED = 0.4
SHARE_SENT_AGAIN = 0.5  # of what was aborted
RECENT_USAGES = 400
RETRY_INTERVAL_SECONDS = 0.1
MODEL_WITHOUT_PRICE = "model-without-price"
# tokens in, out -> credits at the seeded 5/20 USD per million of gpt-4-turbo
_COSTS = ((1000, 500, 15), (2000, 1000, 30), (1, 0, 1), (0, 0, 0))


@dataclass(frozen=True, slots=True)
class Load:
    """How much is sent: so many senders at each door, resting so long after each delivery."""

    posts: int = 2
    producers: int = 1
    transactional: int = 0
    rest_seconds: float = 0.01
    post_sizes: tuple[int, ...] = (1, 10, 60)
    keeps_connections: bool = True  # False: the kernel spreads posts over the gateways


@dataclass(frozen=True, slots=True)
class Form:
    """One way in which a usage is sent."""

    usage: Usage
    event: dict[str, Any]


class Generator:
    """Makes usages and their duplicates from a seed."""

    def __init__(self, rng: random.Random, customers: list[str]) -> None:
        self._rng = rng
        self._customers = customers
        self._recent: list[Form] = []
        self._number = 0

    def batch(self, customer_id: str, size: int) -> list[Form]:
        """Return forms of one customer, about a fifth of them duplicates of earlier ones."""
        forms: list[Form] = []
        for _ in range(size):
            if forms and self._rng.random() < SHARE_OF_DUPLICATES * SHARE_WITHIN_A_RECORD:
                forms.append(self._another_form_of(self._rng.choice(forms)))
            else:
                forms.append(self._form(customer_id))
        return forms

    def new(self, customer_id: str, size: int) -> list[Form]:
        """Return forms that nobody else sends a duplicate of."""
        return [self._new(customer_id) for _ in range(size)]

    def customer(self) -> str:
        """Return one of the customers."""
        return self._rng.choice(self._customers)

    def _form(self, customer_id: str) -> Form:
        if self._rng.random() < SHARE_OF_DUPLICATES:
            own = [form for form in self._recent if form.usage.customer_id == customer_id]
            if own:
                return self._another_form_of(self._rng.choice(own))
        form = self._new(customer_id)
        self._recent = [*self._recent[-RECENT_USAGES:], form]
        return form

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128)))

    def _new(self, customer_id: str) -> Form:
        self._number += 1
        tokens_in, tokens_out, worth = self._rng.choice(_COSTS)
        model = "gpt-4-turbo"
        kind = self._rng.choice(("exact", "by-id", "by-key"))
        is_unpriced = self._rng.random() < 0.01
        if is_unpriced:
            # A letter does not remember its identities: only exact copies stay one usage.
            model, kind, tokens_in = MODEL_WITHOUT_PRICE, "exact", 1
        event = {
            "event_id": self._uuid(),
            "customer_id": customer_id,
            "event_type": "TOKEN_USAGE",
            "feature_id": "crash",
            "provider": "OPENAI",
            "model": model,
            "input_tokens": tokens_in,
            "output_tokens": tokens_out,
            "timestamp": "2025-01-17T14:30:00Z",
            "metadata": {"usage": f"u{self._number}", "kind": kind},
        }
        if kind == "by-key" or self._rng.random() < 0.5:
            event["idempotency_key"] = f"key-{self._number}"
        usage = Usage(
            f"u{self._number}",
            customer_id,
            frozenset({str(event["event_id"])}),
            None if is_unpriced else worth,
        )
        return Form(usage, event)

    def _another_form_of(self, form: Form) -> Form:
        event, kind = dict(form.event), form.event["metadata"]["kind"]
        if kind == "by-id":
            event["idempotency_key"] = self._uuid()
            event["event_id"] = event["event_id"].upper()
        elif kind == "by-key":
            event["event_id"] = self._uuid()
        ids = frozenset({str(event["event_id"]).lower()})
        usage = Usage(form.usage.name, form.usage.customer_id, ids, form.usage.credits)
        return Form(usage, event)


class Workload:
    """Runs producers in a thread of its own; nothing that was begun is given up on."""

    def __init__(  # noqa: PLR0917 -- what it sends, and where to
        self,
        seed: int,
        gateway_url: str | None,
        kafka_bootstrap: str,
        raw: str,
        keys: dict[str, str],
        load: Load,
    ) -> None:
        self.model = Model()
        self._rng = random.Random(seed)
        self._gateway_url = gateway_url
        self._kafka_bootstrap = kafka_bootstrap
        self._raw = raw
        self._keys = keys  # customer -> API key
        self._load = load
        self._generator = Generator(self._rng, sorted(keys))
        self._going = threading.Event()
        self._going.set()
        self._stopping = threading.Event()
        self._busy = 0  # deliveries begun and not yet acknowledged
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="workload")
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._doors: list[KafkaDoor] = []
        self._refused_posts = 0
        self.endings: Counter[Ending] = Counter()  # of transactions

    @property
    def refused_answers(self) -> int:
        """How often a delivery was refused, or its answer lost."""
        return self._refused_posts + sum(door.failures for door in self._doors)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def pause(self, timeout_seconds: float) -> None:
        """Make nothing new, and wait until everything begun is acknowledged."""
        self._going.clear()
        wait_until(self._is_idle, timeout_seconds, "everything begun is acknowledged")
        if self._load.transactional and self._loop is not None:
            last = self._write_to_every_partition()
            asyncio.run_coroutine_threadsafe(last, self._loop).result(timeout_seconds)

    def go_on(self) -> None:
        """Send again."""
        self._going.set()

    def abandon(self) -> None:
        """End, whatever is acknowledged."""
        self._stopping.set()
        self.go_on()
        self._thread.join()

    def _is_idle(self) -> bool:
        if self._error is not None:
            raise self._error
        return self._busy == 0

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        senders = [self._produce_for_ever() for _ in range(self._load.producers)]
        senders += [self._transact_for_ever(one) for one in range(self._load.transactional)]
        if self._gateway_url is not None:
            senders += [self._post_batches() for _ in range(self._load.posts)]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(sender) for sender in senders]
                group.create_task(self._end(tasks))
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread by pause()
            self._error = error

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        await asyncio.to_thread(self._stopping.wait)
        for task in tasks:
            task.cancel()

    @asynccontextmanager
    async def _delivery(self) -> AsyncIterator[None]:
        """Wait while the load pauses, then count one delivery until it is acknowledged."""
        await asyncio.sleep(self._load.rest_seconds)
        self._busy += 1  # before the look, or `pause` could see none of it
        while not self._going.is_set():
            self._busy -= 1
            await asyncio.to_thread(self._going.wait)
            self._busy += 1
        yield
        self._busy -= 1

    async def _post_batches(self) -> None:
        timeout = aiohttp.ClientTimeout(total=15)
        connector = aiohttp.TCPConnector(force_close=not self._load.keeps_connections)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            while True:
                async with self._delivery():
                    customer = self._generator.customer()
                    size = self._rng.choice(self._load.post_sizes)
                    forms = self._generator.batch(customer, size)
                    await self._post_until_accepted(session, customer, forms)

    async def _post_until_accepted(
        self, session: aiohttp.ClientSession, customer: str, forms: list[Form]
    ) -> None:
        body = orjson.dumps({"events": [form.event for form in forms]})
        headers = {"x-api-key": self._keys[customer], "content-type": "application/json"}
        url = f"{self._gateway_url}/v1/events/ingest"
        while True:
            try:
                async with session.post(url, data=body, headers=headers) as answer:
                    if answer.status in {200, 202}:
                        self._acknowledged(forms)
                        return
                    if answer.status != 503:
                        raise AssertionError(f"{answer.status}: {await answer.text()}")
            except (aiohttp.ClientError, TimeoutError):
                pass  # No answer: whether it arrived is unknown, so it is sent again.
            self._refused_posts += 1
            await asyncio.sleep(RETRY_INTERVAL_SECONDS)

    async def _produce_for_ever(self) -> None:
        door = self._door()
        try:
            while True:
                async with self._delivery():
                    forms = self._some_batches()
                    await door.deliver(await self._records(door, forms))
                    self._acknowledged(forms)
        finally:
            await door.close()

    async def _transact_for_ever(self, number: int) -> None:
        door = self._door(f"{self._raw}-producer-{number}")
        try:
            while True:
                async with self._delivery():
                    await self._transact(door)
        finally:
            await door.close()

    async def _transact(self, door: KafkaDoor) -> None:
        """Commit a transaction, or abort one; what was aborted may be sent again."""
        if self._rng.random() < SHARE_OF_ABORTED:
            forms = self._generator.new(self._generator.customer(), 5)
            is_sent_again = self._rng.random() < SHARE_SENT_AGAIN
            if not is_sent_again:
                self.model.aborted.update(str(form.event["event_id"]) for form in forms)
            await door.deliver(await self._records(door, forms), Ending.ABORT)
            self.endings[Ending.ABORT] += 1
            if not is_sent_again:
                return
        else:
            forms = self._some_batches()
        await door.deliver(await self._records(door, forms), Ending.COMMIT)
        self.endings[Ending.COMMIT] += 1
        self._acknowledged(forms)

    def _door(self, transactional_id: str | None = None) -> KafkaDoor:
        door = KafkaDoor(self._kafka_bootstrap, self._raw, transactional_id)
        self._doors.append(door)
        return door

    def _some_batches(self) -> list[Form]:
        """Return forms of one or several customers."""
        count = self._rng.choice((1, 3))
        return [
            form
            for _ in range(count)
            for form in self._generator.batch(self._generator.customer(), 5)
        ]

    async def _records(self, door: KafkaDoor, forms: list[Form]) -> list[RawRecord]:
        """Return one batch of several customers, or single events; to where, in several ways."""
        values = [orjson.dumps({"events": [form.event for form in forms]})]
        if self._rng.random() < 0.5:
            values = [orjson.dumps(form.event) for form in forms]
        where = self._rng.choice(("anywhere", "by customer", "to a partition"))
        if where == "anywhere":
            return [RawRecord(value) for value in values]
        if where == "by customer":
            key = forms[0].usage.customer_id.encode()
            return [RawRecord(value, key=key) for value in values]
        partitions = await door.partitions()
        return [RawRecord(value, partition=self._rng.choice(partitions)) for value in values]

    async def _write_to_every_partition(self) -> None:
        """End each partition with a record: nobody is ever handed a transaction's marker."""
        door = self._door()
        forms, records = [], []
        for partition in await door.partitions():
            (form,) = self._generator.new(self._generator.customer(), 1)
            forms.append(form)
            records.append(RawRecord(orjson.dumps(form.event), partition=partition))
        await door.deliver(records)
        self._acknowledged(forms)
        await door.close()

    def _acknowledged(self, forms: list[Form]) -> None:
        self.model.acknowledged(form.usage for form in forms)
