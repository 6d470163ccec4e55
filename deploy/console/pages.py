"""Answers of the console: a page for a browser, the same facts as JSON for a program."""

import base64
import re
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any
from urllib.parse import urlencode

import orjson
from aiohttp import hdrs, web
from jinja2 import Environment, PackageLoader, StrictUndefined

from deploy.console.sessions import Session

# The key's name of whoever asks, and the session where a browser asks.
OPERATOR = web.RequestKey("operator", str)
SESSION = web.RequestKey("session", Session)

# No inline script, no inline style, nothing from elsewhere, no frame around us.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Not "no-referrer": browsers would call the origin of our own forms null.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_SECONDS_PER = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}
_PRINTABLE = re.compile(r"[^\x20-\x7e]")
_HEX_WIDTH = 16
NOTHING = "\N{EN DASH}"


def moment(value: datetime | None) -> str:
    """Return a time as people read it: UTC, to the second."""
    return NOTHING if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def grouped(value: Decimal | None) -> str:
    """Return an exact decimal with its thousands set apart by narrow spaces."""
    return NOTHING if value is None else f"{value:,f}".replace(",", "\u202f")


def whole(value: int | None) -> str:
    """Return a whole number with its thousands set apart by narrow spaces."""
    return NOTHING if value is None else f"{value:,d}".replace(",", "\u202f")


def per_second(value: float | None) -> str:
    """Return a rate: a figure of the machine, not of money."""
    if value is None:
        return NOTHING
    return f"{value:.1f}/s" if 0 < value < 10 else f"{whole(round(value))}/s"  # noqa: PLR2004 -- two figures


def duration(seconds: float | None) -> str:
    """Return a length of time in its two largest units: "3 h 20 min"."""
    if seconds is None:
        return NOTHING
    if seconds < 1:
        return "< 1 s"
    rest, parts = round(seconds), []
    for unit, length in _SECONDS_PER.items():
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def size(count: int | None) -> str:
    """Return a number of bytes: "1.4 MB"."""
    if count is None:
        return NOTHING
    amount, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1_000:  # noqa: PLR2004 -- decimal units
            break
        amount, unit = amount / 1_000, larger
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def readable(payload: bytes | None) -> str:
    """Return bytes as text: JSON set out over lines, other text as it is, else a note."""
    if payload is None:
        return "no value"
    try:
        return orjson.dumps(orjson.loads(payload), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        return payload.decode(errors="replace")


def hexdump(payload: bytes | None, bytes_max: int = 4_096) -> str:
    """Return bytes as offsets, hexadecimal and printable characters, sixteen a line."""
    shown = (payload or b"")[:bytes_max]
    lines = []
    for at in range(0, len(shown), _HEX_WIDTH):
        piece = shown[at : at + _HEX_WIDTH]
        text = _PRINTABLE.sub(".", piece.decode("latin-1"))
        lines.append(f"{at:08x}  {piece.hex(' '):<47}  {text}")
    rest = len(payload or b"") - len(shown)
    return "\n".join([*lines, f"... and {rest} bytes more"] if rest else lines)


def link(path: str, **query: object) -> str:
    """Return a path with its query; what is None or empty is left out."""
    kept = {name: str(value) for name, value in query.items() if value not in {None, ""}}
    return f"{path}?{urlencode(kept)}" if kept else path


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("deploy.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = (moment, grouped, whole, per_second, duration, size, readable, hexdump)
    environment.filters |= {one.__name__: one for one in shown}
    environment.globals["link"] = link
    return environment


def render(template: str, **facts: Any) -> str:
    """Return a template filled with facts; everything is escaped."""
    return _environment().get_template(template).render(**facts)


def wants_json(request: web.Request) -> bool:
    """Whether a program asks: one that shows its key by a header, or that accepts JSON first."""
    accepted = request.headers.get(hdrs.ACCEPT, "")
    return accepted.startswith("application/json") or (
        request.get(SESSION) is None and "text/html" not in accepted
    )


def page(
    request: web.Request, template: str, facts: Mapping[str, Any], status: int = 200
) -> web.Response:
    """Return facts as the page of a template, or as JSON."""
    if wants_json(request):
        return json_answer(facts, status)
    session = request.get(SESSION)
    text = render(
        template,
        **facts,
        operator=request.get(OPERATOR),
        form_token=session.form_token if session else "",
        path=request.path,
    )
    return web.Response(text=text, status=status, content_type="text/html")


def json_answer(facts: Mapping[str, Any], status: int = 200) -> web.Response:
    """Return facts as JSON: decimals as text, bytes in base64, times as ISO 8601."""
    body = orjson.dumps(
        facts, default=_plain, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS
    )
    return web.Response(body=body, status=status, content_type="application/json")


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, frozenset | set):
        return sorted(value)
    return str(value)
