"""Bodies of requests: received and inflated within limits of size, time and memory."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiohttp import hdrs, web

from gateway import ingest, metrics
from gateway.errors import UnavailableError, plain, too_large
from gateway.settings import GatewaySettings

_GZIP = {"gzip", "x-gzip"}
# Of the memory for bodies: what one customer may fill, so that others find room.
_CUSTOMER_SHARE = 4


class BodyMemory:
    """Counts the bytes of all bodies that are held at once."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._bytes_max = settings.bodies_bytes_max
        # One body of the largest size must always pass, as sent and as inflated.
        self._customer_bytes_max = max(
            settings.bodies_bytes_max // _CUSTOMER_SHARE, 2 * settings.body_bytes_max
        )
        self._of_customer: Counter[str] = Counter()
        self._bytes = 0

    @contextmanager
    def reserve(self, customer_id: str) -> Iterator[Callable[[int], None]]:
        """Yield a function that counts more bytes of one body, or raises UnavailableError."""
        held = 0

        def count(size: int) -> None:
            nonlocal held
            if (
                self._bytes + size > self._bytes_max
                or self._of_customer[customer_id] + size > self._customer_bytes_max
            ):
                raise UnavailableError("memory", "Too many bodies at once. Please try again later.")
            held += size
            self._change(customer_id, size)

        try:
            yield count
        finally:
            self._change(customer_id, -held)

    def _change(self, customer_id: str, size: int) -> None:
        self._bytes += size
        self._of_customer[customer_id] += size
        if self._of_customer[customer_id] <= 0:
            del self._of_customer[customer_id]
        metrics.BODY_BYTES.set(self._bytes)


BODY_MEMORY = web.AppKey("body_memory", BodyMemory)


@asynccontextmanager
async def json_body(
    request: web.Request, customer_id: str, settings: GatewaySettings
) -> AsyncIterator[bytes]:
    """Yield the body, inflated. Raises 400, 408, 413, 415 or 503 (no room left)."""
    if request.content_type != "application/json" and not request.content_type.endswith("+json"):
        raise plain(
            415, "Unsupported Media Type", f"Unsupported Media Type: {request.content_type}"
        )
    encodings = request.headers.getall(hdrs.CONTENT_ENCODING, ["identity"])
    encoding = ",".join(encodings).strip().lower()
    if encoding not in _GZIP and encoding not in {"identity", ""}:
        raise plain(415, "Unsupported Media Type", "Content-Encoding must be gzip, or none")
    if (request.content_length or 0) > settings.body_bytes_max:
        raise too_large()
    with request.app[BODY_MEMORY].reserve(customer_id) as count:
        try:
            async with asyncio.timeout(settings.body_timeout_seconds):
                body = await _receive(request, settings.body_bytes_max, count)
        except TimeoutError:
            message = "The request's body did not arrive in time"
            raise plain(408, "Request Timeout", message) from None
        if encoding in _GZIP:
            try:
                body = ingest.inflate(body, settings.body_bytes_max)
            except ingest.BodyTooLargeError:
                raise too_large() from None
            count(len(body))
        if ingest.holds_too_many_values(body):
            raise too_large("Request body holds too many values: send fewer events at once")
        yield body


async def _receive(request: web.Request, bytes_max: int, count: Callable[[int], None]) -> bytes:
    """Return the body as sent; no more than the limit is ever held."""
    body = bytearray()
    while part := await request.content.readany():
        if len(body) + len(part) > bytes_max:
            raise too_large()
        count(len(part))
        body += part
    return bytes(body)
