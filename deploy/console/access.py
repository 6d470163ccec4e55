"""Who may enter: the login form, the check before every other page, the headers of every answer.

A browser logs in once: its cookie is HttpOnly and SameSite=Strict, and each form it sends carries a
token of its session. A program shows its key by a header each time. A key never stands in a URL.
"""

from urllib.parse import urlsplit

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from deploy.console import metrics
from deploy.console.admin_keys import AdminKeys
from deploy.console.ledger import UnavailableError
from deploy.console.pages import (
    OPERATOR,
    SECURITY_HEADERS,
    SESSION,
    json_answer,
    link,
    page,
    wants_json,
)
from deploy.console.sessions import SESSION_SECONDS, Sessions, WrongKeys

_log = structlog.get_logger("console")

ADMIN_KEYS = web.AppKey("admin_keys", AdminKeys)
SESSIONS = web.AppKey("sessions", Sessions)
WRONG_KEYS = web.AppKey("wrong_keys", WrongKeys)

LOGIN_PATH = "/login"
COOKIE = "burnstream_console"
KEY_HEADER = "x-api-key"
TOKEN_FIELD = "form_token"  # noqa: S105 -- the name of a field
KEY_LENGTH_MAX = 512
_OPEN_PATHS = (LOGIN_PATH, "/health")
_READING = {hdrs.METH_GET, hdrs.METH_HEAD}


@web.middleware
async def answer_everything(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what goes wrong into a page or JSON that says so, without a trace of the request."""
    try:
        return await handler(request)
    except web.HTTPRedirection:
        raise
    except web.HTTPException as error:
        return _refusal(request, error.status, error.text or error.reason)
    except UnavailableError as error:
        return _refusal(request, 503, str(error))
    except Exception:  # noqa: BLE001 -- the last resort: its traceback is logged
        _log.exception("Request failed", route=request.path)
        return _refusal(request, 500, "The console failed at this; its log says where.")


def _refusal(request: web.Request, status: int, message: str) -> web.Response:
    if wants_json(request):
        return json_answer({"error": message}, status)
    return page(request, "refusal.html", {"status": status, "message": message}, status)


async def add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler: complete the headers of every answer, and do not name the software."""
    response.headers.update(SECURITY_HEADERS)
    response.headers.popall(hdrs.SERVER, None)
    if not request.path.startswith("/static/"):
        response.headers[hdrs.CACHE_CONTROL] = "no-store"


@web.middleware
async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let in who has a session or shows a key; refuse forms that another site had sent."""
    is_open = request.path in _OPEN_PATHS or request.path.startswith("/static/")
    if request.method not in _READING and not _is_own_origin(request):
        raise web.HTTPForbidden(text="This form was sent by another site.")
    _identify(request)
    if OPERATOR not in request and not is_open:
        if not wants_json(request) and request.method in _READING:
            raise web.HTTPSeeOther(link(LOGIN_PATH, next=request.path_qs))
        raise web.HTTPUnauthorized(text="Show an admin key by the header X-API-Key.")
    session = request.get(SESSION)
    if session is not None and request.method not in _READING and not is_open:
        form = await request.post()
        if form.get(TOKEN_FIELD) != session.form_token:
            raise web.HTTPForbidden(text="This form is not of your session: open its page again.")
    return await handler(request)


def _is_own_origin(request: web.Request) -> bool:
    origin = request.headers.get(hdrs.ORIGIN)
    return origin is None or urlsplit(origin).netloc == request.host


def _identify(request: web.Request) -> None:
    """Note who asks, by key or by session. Raises 401 or 429 for a key that is none."""
    key = _key_of(request)
    if key is not None:
        name = _name_of(request, key)
        if name is None:
            raise web.HTTPUnauthorized(text="No such admin key.")
        request[OPERATOR] = name
        return
    session = request.app[SESSIONS].find(request.cookies.get(COOKIE, ""))
    if session is not None:
        request[SESSION], request[OPERATOR] = session, session.operator


def _key_of(request: web.Request) -> str | None:
    key = request.headers.get(KEY_HEADER, "")
    if not key:
        scheme, _, credentials = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        key = credentials.strip() if scheme.lower() == "bearer" else ""
    return key or None


def _name_of(request: web.Request, key: str) -> str | None:
    """Return whose key it is, and count it when it is nobody's. Raises 429."""
    caller = request.remote or "unknown"
    if request.app[WRONG_KEYS].are_too_many(caller):
        raise web.HTTPTooManyRequests(text="Too many wrong keys: try again in a minute.")
    name = request.app[ADMIN_KEYS].name_of(key) if len(key) <= KEY_LENGTH_MAX else None
    if name is None:
        request.app[WRONG_KEYS].add(caller)
        metrics.WRONG_KEYS.inc()
        _log.warning("A wrong admin key was shown", caller=caller)
    return name


async def show_login(request: web.Request) -> web.Response:
    """GET /login: the form."""
    facts = {"next": _inside(request.query.get("next", "/")), "message": ""}
    return page(request, "login.html", facts)


async def log_in(request: web.Request) -> web.Response:
    """POST /login: a key for a session."""
    form = await request.post()
    onward = _inside(str(form.get("next", "/")))
    name = _name_of(request, str(form.get("key", "")).strip())
    if name is None:
        facts = {"next": onward, "message": "No such key."}
        return page(request, "login.html", facts, status=401)
    _log.info("Logged in", by=name)
    answer = web.HTTPSeeOther(onward)
    answer.set_cookie(
        COOKIE,
        request.app[SESSIONS].begin(name),
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="Strict",
        secure=_is_https(request),
    )
    raise answer


def _is_https(request: web.Request) -> bool:
    # A proxy's word is enough here: it can only make the cookie stricter.
    return request.secure or request.headers.get("X-Forwarded-Proto") == "https"


def _inside(onward: str) -> str:
    """Return a path of ours; anything that could lead to another site becomes the first page."""
    is_ours = onward.startswith("/") and not onward.startswith(("//", "/\\", LOGIN_PATH))
    return onward if is_ours and onward.isprintable() else "/"


async def log_out(request: web.Request) -> web.Response:
    """POST /logout: end the session."""
    request.app[SESSIONS].end(request.cookies.get(COOKIE, ""))
    _log.info("Logged out", by=request[OPERATOR])
    answer = web.HTTPSeeOther(LOGIN_PATH)
    answer.del_cookie(COOKIE)
    raise answer
