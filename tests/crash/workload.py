"""Load with duplicates, over HTTP and straight to Kafka, until it is told to stop.

What a producer may do, it does: the same event again, the same id under another key, the same key
under another id; within a record, across records, partitions and doors. A delivery counts when it
was acknowledged; one whose answer was lost is sent again until it is.
"""

import asyncio
import random
import threading
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.crash.model import Model, Usage
from tests.waiting import wait_until

SHARE_OF_DUPLICATES = 0.2
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
    rest_seconds: float = 0.01
    post_sizes: tuple[int, ...] = (1, 10, 60)


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
        return [self._form(customer_id) for _ in range(size)]

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
        self.refused_answers = 0

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def pause(self, timeout_seconds: float) -> None:
        """Make nothing new, and wait until everything begun is acknowledged."""
        self._going.clear()
        wait_until(self._is_idle, timeout_seconds, "everything begun is acknowledged")

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
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._produce_records())]
                if self._gateway_url is not None:
                    tasks += [
                        group.create_task(self._post_batches()) for _ in range(self._load.posts)
                    ]
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
        async with aiohttp.ClientSession(timeout=timeout) as session:
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
                        self.model.acknowledged(form.usage for form in forms)
                        return
                    if answer.status != 503:
                        raise AssertionError(f"{answer.status}: {await answer.text()}")
            except (aiohttp.ClientError, TimeoutError):
                pass  # No answer: whether it arrived is unknown, so it is sent again.
            self.refused_answers += 1
            await asyncio.sleep(RETRY_INTERVAL_SECONDS)

    async def _produce_records(self) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._kafka_bootstrap, acks="all", enable_idempotence=True
        )
        await producer.start()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._load.producers):
                    group.create_task(self._produce_for_ever(producer))
        finally:
            await producer.stop()

    async def _produce_for_ever(self, producer: AIOKafkaProducer) -> None:
        while True:
            async with self._delivery():
                forms = [
                    form
                    for _ in range(self._rng.choice((1, 3)))
                    for form in self._generator.batch(self._generator.customer(), 5)
                ]
                await self._produce(producer, forms)

    async def _produce(self, producer: AIOKafkaProducer, forms: list[Form]) -> None:
        """Write one batch of several customers, or single events; with a key or without one."""
        records = [orjson.dumps({"events": [form.event for form in forms]})]
        key: bytes | None = None
        if self._rng.random() < 0.5:
            records = [orjson.dumps(form.event) for form in forms]
        elif self._rng.random() < 0.5:
            key = forms[0].usage.customer_id.encode()
        while True:
            try:
                acks = [await producer.send(self._raw, record, key=key) for record in records]
                await asyncio.gather(*acks)
            except KafkaError:
                self.refused_answers += 1
                await asyncio.sleep(RETRY_INTERVAL_SECONDS)
            else:
                self.model.acknowledged(form.usage for form in forms)
                return
