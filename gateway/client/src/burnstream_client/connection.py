"""One kept connection to the gateway, over the standard library's HTTP."""

import contextlib
import http.client
import ssl
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit

from burnstream_client.answers import Answer
from burnstream_client.events import Tracked

INGEST = "/v1/events/ingest"
_HEAD, _TAIL = b'{"events":[', b"]}"

try:
    _VERSION = version("burnstream-client")
except PackageNotFoundError:  # run from its folder
    _VERSION = "0"


class NoAnswerError(Exception):
    """Nobody knows whether the gateway took what was sent."""


class Connection:
    """Sends batches; connects anew after anything went wrong. Of one thread."""

    def __init__(
        self, url: str, api_key: str, timeout_seconds: float, ssl_context: ssl.SSLContext | None
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"not the address of a gateway (http://host:port): {url!r}")
        self._path = parts.path.rstrip("/") + INGEST
        self._headers = {
            "x-api-key": api_key,
            "content-type": "application/json",
            "prefer": "handling=lenient",
            "user-agent": f"burnstream-client/{_VERSION}",
        }
        self._http = (
            http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_seconds)
            if parts.scheme == "http"
            else http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=timeout_seconds, context=ssl_context
            )
        )

    def post(self, events: Sequence[Tracked]) -> Answer:
        """Send events and return the answer. Raises NoAnswerError."""
        is_kept = self._http.sock is not None
        try:
            return self._exchange(_HEAD + b",".join(event.json for event in events) + _TAIL)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if not is_kept or not isinstance(error, ConnectionError):
                raise NoAnswerError(repr(error)) from error
        # A kept connection may have been closed meanwhile, which shows only when it is used.
        return self.post(events)

    def _exchange(self, body: bytes) -> Answer:
        # Who refuses a body may answer and close before all of it is sent.
        with contextlib.suppress(BrokenPipeError):
            self._http.request("POST", self._path, body, self._headers)
        response = self._http.getresponse()
        return Answer(response.status, response.read(), response.getheader("retry-after"))

    def close(self) -> None:
        """Close it; the next request opens it again."""
        self._http.close()
