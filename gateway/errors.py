"""Every answer that is no success, and the middleware that turns exceptions into answers."""

import time
import traceback
from collections.abc import Mapping
from typing import Any

import orjson
import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from gateway import metrics
from gateway.ingest import ForeignCustomerError, InvalidBodyError

_log = structlog.get_logger("gateway")

# What helmet sets by default, less what concerns pages: these are answers to programs.
SECURITY_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Origin-Agent-Cluster": "?1",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=15552000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",
    "X-Download-Options": "noopen",
    "X-Frame-Options": "SAMEORIGIN",
    "X-Permitted-Cross-Domain-Policies": "none",
    "X-XSS-Protection": "0",
}
RETRY_AFTER_SECONDS = 5


class ApiError(Exception):
    """An answer that is no success. `body` is its JSON."""

    def __init__(
        self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(str(body.get("message", "")))
        self.status = status
        self.body = body
        self.headers = headers or {}


class UnavailableError(ApiError):
    """503: a service that the request needs does not answer; the caller may try again."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(
            503,
            {"error": "SERVICE_UNAVAILABLE", "message": message, "cause": cause},
            {hdrs.RETRY_AFTER: str(RETRY_AFTER_SECONDS)},
        )


def unauthorized() -> ApiError:
    """401: the caller shows no key, or one that is not valid."""
    return ApiError(
        401,
        {"error": "UNAUTHORIZED", "message": "Invalid or missing API key"},
        {hdrs.WWW_AUTHENTICATE: 'Bearer realm="burnstream"'},
    )


def invalid_request(message: str, details: Mapping[str, Any]) -> ApiError:
    """400 with what is wrong, by field."""
    return ApiError(
        400, {"error": "VALIDATION_ERROR", "message": message, "details": dict(details)}
    )


def not_found(message: str) -> ApiError:
    """404 of a thing (not of a route)."""
    return ApiError(404, {"error": "NOT_FOUND", "message": message})


def plain(
    status: int, error: str, message: str, headers: Mapping[str, str] | None = None
) -> ApiError:
    """An answer in the form that web frameworks give for what concerns HTTP itself."""
    return ApiError(status, {"statusCode": status, "error": error, "message": message}, headers)


def json_response(
    body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return an answer with a JSON body."""
    return web.Response(
        body=orjson.dumps(body),
        status=status,
        headers=headers,
        content_type="application/json",
        charset="utf-8",
    )


async def add_security_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler: complete the headers of every answer, and do not name the software."""
    response.headers.update(SECURITY_HEADERS)
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    response.headers.popall(hdrs.SERVER, None)


@web.middleware
async def answer_everything(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer in JSON whatever happens, and count it."""
    started = time.perf_counter()
    try:
        response = await handler(request)
    except (ApiError, InvalidBodyError, ForeignCustomerError, web.HTTPException) as error:
        known = as_api_error(error, request)
        response = json_response(known.body, known.status, known.headers)
    except (ConnectionError, web.RequestPayloadError) as error:
        # The caller went away, or sent a body that contradicts its own headers.
        # By its kind alone: the message may quote the body.
        _log.info("Request broken off", reason=type(error).__name__)
        response = json_response(
            plain(400, "Bad Request", "The request's body is not complete").body, 400
        )
        response.force_close()
    except Exception as error:  # noqa: BLE001 -- the last resort: a bug must not look like a lost connection
        _log.error(
            "Request failed",
            route=route_of(request),
            failure=type(error).__name__,
            at=frames_of(error),
        )
        response = json_response(
            {"error": "INTERNAL_ERROR", "message": "The request failed. Please try again later."},
            500,
        )
    route = route_of(request)
    metrics.REQUESTS.labels(route, response.status).inc()
    metrics.REQUEST_SECONDS.labels(route).observe(time.perf_counter() - started)
    return response


def frames_of(error: BaseException | None) -> list[str]:
    """Return where an error came from, the innermost call last; its message may hold a payload."""
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


def as_api_error(
    error: ApiError | InvalidBodyError | ForeignCustomerError | web.HTTPException,
    request: web.Request,
) -> ApiError:
    """Return the answer that an exception stands for."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, InvalidBodyError):
        return invalid_request("Invalid event batch format", error.details)
    if isinstance(error, ForeignCustomerError):
        return ApiError(403, {"error": "FORBIDDEN", "message": str(error)})
    return _of_framework(error, request)


def _of_framework(error: web.HTTPException, request: web.Request) -> ApiError:
    if isinstance(error, web.HTTPNotFound):
        return plain(404, "Not Found", f"Route {request.method}:{request.path} not found")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        message = f"{request.path} takes {allowed}, not {request.method}"
        return plain(405, "Method Not Allowed", message, {hdrs.ALLOW: allowed})
    return plain(error.status, error.reason, error.reason)


def too_large(message: str = "Request body is too large") -> ApiError:
    """413."""
    return plain(413, "Payload Too Large", message)


def route_of(request: web.Request) -> str:
    """Return the route's pattern: a label with few values, whatever callers ask for."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unmatched"
