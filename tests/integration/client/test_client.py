"""The client against a gateway that answers by a script."""

import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from burnstream_client import BufferFullError, Client, ClosedError, Refusal
from deploy.local.ports import LOOPBACK, free_port
from tests.integration.client.scripted_gateway import TAKEN, Reply, scripted_gateway
from tests.system import REPOSITORY
from tests.waiting import wait_until

QUICK = (0.01, 0.05)
BUSY: Reply = (503, {}, {"error": "SERVICE_UNAVAILABLE", "message": "Kafka is not reachable"})
TIMEOUT = 20.0


def client_of(url: str, refused: list[Refusal] | None = None, **options: Any) -> Client:
    usual: dict[str, Any] = {
        "customer_id": "cust-1",
        "on_refused": (refused if refused is not None else []).append,
        "batch_seconds": 0.01,
        "backoff_seconds": QUICK,
    }
    return Client(url, "om_test_key", **(usual | options))


def track(client: Client, count: int = 1) -> list[str]:
    return [client.track("API_CALL", "search") for _ in range(count)]


def test_events_go_in_batches_and_in_order() -> None:
    """Many events take few requests; the key and the leniency are told."""
    with scripted_gateway() as gateway, client_of(gateway.url, batch_seconds=60) as client:
        ids = track(client, 1_200)
        assert client.flush(TIMEOUT)

        assert gateway.event_ids == ids
        assert [len(events) for events in gateway.requests] == [500, 500, 200]
        assert gateway.headers[0]["x-api-key"] == "om_test_key"
        assert gateway.headers[0]["prefer"] == "handling=lenient"


def test_an_event_waits_for_others_no_longer_than_told() -> None:
    """Without a flush it is sent after `batch_seconds`."""
    with scripted_gateway() as gateway, client_of(gateway.url, batch_seconds=0.5) as client:
        ids = track(client, 2)

        wait_until(lambda: gateway.event_ids == ids, TIMEOUT, "both are sent")
        assert len(gateway.requests) == 1


@pytest.mark.parametrize("reply", [BUSY, (429, {}, {}), (500, {}, {}), (200, {}, {}), None])
def test_what_was_not_taken_is_sent_again_as_the_same(reply: Reply | None) -> None:
    """The same bytes, until the gateway has them."""
    # Nothing but the flush sends: however slow the machine is, they go together.
    scripted = scripted_gateway(reply, reply, TAKEN)
    with scripted as gateway, client_of(gateway.url, batch_seconds=60.0) as client:
        ids = track(client, 3)
        assert client.flush(TIMEOUT)

        first, *others = gateway.requests
        assert [event["event_id"] for event in first] == ids
        assert len(others) >= 2
        assert all(other == first for other in others)


def test_a_gateway_that_is_not_there_yet_is_waited_for() -> None:
    """Nobody listens: the event waits, and nothing is raised."""
    with client_of(f"http://{LOOPBACK}:{free_port()}", close_seconds=0.0) as client:
        track(client)

        assert client.flush(0.2) is False
        assert len(client) == 1


def test_retry_after_is_honoured() -> None:
    """No attempt comes before the gateway's word, though the backoff is shorter."""
    began = time.monotonic()
    busy: Reply = (429, {"Retry-After": "1"}, {})
    with scripted_gateway(busy) as gateway, client_of(gateway.url) as client:
        track(client)
        assert client.flush(TIMEOUT)

        assert time.monotonic() - began >= 1.0
        assert len(gateway.requests) == 2


def test_what_is_refused_is_told_and_the_rest_is_taken() -> None:
    """One bad event among good ones is handed to the callback, with the reason."""
    refused: list[Refusal] = []
    errors = [{"index": 1, "errors": [{"path": "model", "message": "Expected string"}]}]
    reply: Reply = (202, {}, {"accepted": 2, "rejected": 1, "errors": errors})
    with scripted_gateway(reply) as gateway, client_of(gateway.url, refused) as client:
        ids = track(client, 3)
        assert client.flush(TIMEOUT)

    assert [(one.event["event_id"], one.reason, one.status) for one in refused] == [
        (ids[1], "model: Expected string", 400)
    ]
    assert len(gateway.requests) == 1


@pytest.mark.parametrize("status", [400, 403, 413])
def test_a_refusal_that_names_nobody_finds_the_one(status: int) -> None:
    """The batch is split until the one that is refused is alone; the others are taken."""
    refused: list[Refusal] = []

    def refuse_the_fifth(events: list[dict[str, Any]]) -> Reply:
        is_there = any(event["event_id"] == bad for event in events)
        return (status, {}, {"message": "no"}) if is_there else TAKEN

    with scripted_gateway() as gateway, client_of(gateway.url, refused) as client:
        gateway.usual = refuse_the_fifth
        gateway.is_open.clear()
        ids = track(client, 8)
        bad = ids[4]
        gateway.is_open.set()
        assert client.flush(TIMEOUT)
        taken = [events for events in gateway.requests if refuse_the_fifth(events) == TAKEN]

    assert [(one.event["event_id"], one.status) for one in refused] == [(bad, status)]
    assert sorted(e["event_id"] for events in taken for e in events) == sorted({*ids} - {bad})


def test_a_wrong_key_is_told_for_each_event() -> None:
    """401 is not tried again."""
    refused: list[Refusal] = []
    with scripted_gateway() as gateway, client_of(gateway.url, refused) as client:
        gateway.usual = lambda _: (401, {}, {"message": "Invalid or missing API key"})
        ids = track(client, 2)
        assert client.flush(TIMEOUT)

    assert [one.event["event_id"] for one in refused] == ids
    assert {one.status for one in refused} == {401}


def test_a_callback_that_fails_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and what comes after is sent."""

    def fail(_: Refusal) -> None:
        raise RuntimeError("the callback's own")

    reply: Reply = (401, {}, {})
    with scripted_gateway(reply) as gateway, client_of(gateway.url, on_refused=fail) as client:
        track(client)
        assert client.flush(TIMEOUT)
        ids = track(client)
        assert client.flush(TIMEOUT)

        assert gateway.event_ids[1:] == ids
    assert "the callback's own" in caplog.text


def test_a_callback_may_track_but_not_wait() -> None:
    """From the background thread a full buffer raises at once, and so does a flush."""
    raised: list[type[Exception]] = []

    def on_refused(_: Refusal) -> None:
        attempts: list[Any] = [lambda: track(client, 2), client.flush]
        for attempt in attempts:
            try:
                attempt()
            except (BufferFullError, RuntimeError) as error:
                raised.append(type(error))

    with scripted_gateway((401, {}, {})) as gateway:
        with client_of(
            gateway.url, on_refused=on_refused, buffer_events=1, block_seconds=60
        ) as client:
            track(client)
            assert client.flush(TIMEOUT)
        assert len(gateway.requests) == 2
    assert raised == [BufferFullError, RuntimeError]


def test_a_full_buffer_raises_or_waits_as_told() -> None:
    """With no time to wait `track` raises; with some it waits until there is room."""
    with scripted_gateway() as gateway:
        gateway.is_open.clear()
        with client_of(gateway.url, buffer_events=2, block_seconds=0) as client:
            track(client, 2)
            with pytest.raises(BufferFullError):
                track(client)
            gateway.is_open.set()
            assert client.flush(TIMEOUT)
        gateway.is_open.clear()
        with client_of(gateway.url, buffer_events=2, block_seconds=TIMEOUT) as client:
            track(client, 2)
            waiting = threading.Thread(target=track, args=(client,))
            waiting.start()
            assert waiting.is_alive()
            gateway.is_open.set()
            waiting.join(TIMEOUT)
            assert client.flush(TIMEOUT)
        assert len(gateway.event_ids) == 5


def test_leaving_the_context_sends_what_is_left() -> None:
    """Nothing waits for a full batch; afterwards nothing is taken."""
    with scripted_gateway() as gateway:
        with client_of(gateway.url, batch_seconds=60) as client:
            ids = track(client, 3)

        assert gateway.event_ids == ids
        with pytest.raises(ClosedError):
            track(client)


def test_what_a_close_cannot_send_is_told() -> None:
    """What the gateway does not take in time goes to the callback, once each, with no status."""
    refused: list[Refusal] = []
    with scripted_gateway() as gateway:
        gateway.usual = lambda _: BUSY
        client = client_of(gateway.url, refused)
        ids = track(client, 3)
        wait_until(lambda: gateway.requests, TIMEOUT, "it was tried")
        client.close(0.1)

    assert [one.event["event_id"] for one in refused] == ids
    assert {one.status for one in refused} == {None}
    assert len(client) == 0


def test_threads_share_a_client() -> None:
    """Every event of every thread is sent once, and none is lost between them."""
    with scripted_gateway() as gateway, client_of(gateway.url, batch_events=7) as client:
        ids: list[list[str]] = [[] for _ in range(8)]
        threads = [
            threading.Thread(target=lambda own: own.extend(track(client, 200)), args=(own,))
            for own in ids
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        assert client.flush(TIMEOUT)

        assert sorted(gateway.event_ids) == sorted(one for own in ids for one in own)


def run_script(code: str, url: str) -> None:
    subprocess.run(
        [sys.executable, "-c", f"from burnstream_client import Client\nurl = {url!r}\n{code}"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "gateway" / "client" / "src")},
        timeout=60,
        check=True,
    )


def test_a_program_that_ends_has_sent_all() -> None:
    """Without a flush or a close, at the interpreter's exit."""
    with scripted_gateway() as gateway:
        run_script(
            "client = Client(url, 'key', customer_id='c', batch_seconds=60)\n"
            "for _ in range(3): client.track('API_CALL', 'search')",
            gateway.url,
        )

        assert len(gateway.event_ids) == 3


def test_a_forked_child_sends_its_own() -> None:
    """Each process sends what it tracked, and nothing of the other's."""
    with scripted_gateway() as gateway:
        run_script(
            "import os\n"
            "client = Client(url, 'key', customer_id='c', batch_seconds=60)\n"
            "client.track('API_CALL', 'parent')\n"
            "child = os.fork()\n"
            "if child == 0:\n"
            "    client.track('API_CALL', 'child')\n"
            "    os._exit(0 if client.flush(20) else 1)\n"
            "assert os.waitpid(child, 0)[1] == 0\n"
            "client.close()",
            gateway.url,
        )

        features = [event["feature_id"] for events in gateway.requests for event in events]
        assert sorted(features) == ["child", "parent"]


@pytest.mark.parametrize("url", ["gateway:8081", "ftp://gateway", "http://"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    """It does not wait for the first event."""
    with pytest.raises(ValueError, match="not the address"):
        client_of(url)
