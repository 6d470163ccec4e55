"""Load with duplicates, over HTTP and straight to Kafka, until it is told to stop.

What a producer may do, it does: the same event again, the same id under another key, the same key
under another id; within a record, across records, partitions and doors. A delivery counts when it
was acknowledged; one whose answer was lost is sent again until it is.
"""

import asyncio
import random
import threading
import uuid
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.crash.model import Model, Usage

SHARE_OF_DUPLICATES = 0.2
RECENT_USAGES = 400
RETRY_INTERVAL_SECONDS = 0.1
MODEL_WITHOUT_PRICE = "model-without-price"
# tokens in, out -> credits at the seeded 5/20 USD per million of gpt-4-turbo
_COSTS = ((1000, 500, 15), (2000, 1000, 30), (1, 0, 1), (0, 0, 0))


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
    """Runs producers in a thread of its own; `stop` returns once all that was begun has landed."""

    def __init__(
        self, seed: int, gateway_url: str, kafka_bootstrap: str, raw: str, keys: dict[str, str]
    ) -> None:
        self.model = Model()
        self._rng = random.Random(seed)
        self._gateway_url = gateway_url
        self._kafka_bootstrap = kafka_bootstrap
        self._raw = raw
        self._keys = keys  # customer -> API key
        self._generator = Generator(self._rng, sorted(keys))
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="workload")
        self._error: BaseException | None = None
        self.refused_answers = 0

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self, timeout_seconds: float) -> Model:
        """Stop making new events, wait until every one begun is acknowledged, return the model."""
        self._stopping.set()
        self._thread.join(timeout_seconds)
        if self._thread.is_alive():
            raise TimeoutError(f"workload not acknowledged within {timeout_seconds} s")
        if self._error is not None:
            raise self._error
        return self.model

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(2):
                    group.create_task(self._post_batches())
                group.create_task(self._produce_records())
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread by stop()
            self._error = error

    async def _post_batches(self) -> None:
        timeout = aiohttp.ClientTimeout(total=15)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while not self._stopping.is_set():
                customer = self._generator.customer()
                forms = self._generator.batch(customer, self._rng.choice((1, 10, 60)))
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
            while not self._stopping.is_set():
                forms = [
                    form
                    for _ in range(self._rng.choice((1, 3)))
                    for form in self._generator.batch(self._generator.customer(), 5)
                ]
                await self._produce(producer, forms)
                await asyncio.sleep(0.01)
        finally:
            await producer.stop()

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
