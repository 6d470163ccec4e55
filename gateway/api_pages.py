"""`/openapi.json`, and Swagger UI at `/docs` with files of our own and of a package, no others."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import orjson
from aiohttp import hdrs, web

from gateway.api_document import JSON, api_document

DOCUMENT_PATH, PAGE_PATH = "/openapi.json", "/docs"
_OWN = Path(__file__).parent / "static"
# Of the package that brings them; the package itself is not imported.
_FROM_PACKAGE = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
_FROM_US = {"docs.html": "text/html", "docs.js": "text/javascript"}
# Swagger UI sets the styles of its elements by script, which a policy does not forbid, and draws
# its icons from data: addresses.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DAY = "public, max-age=86400"


def add_routes(router: web.UrlDispatcher) -> None:
    """Add the document, the page and the files of the page."""
    router.add_get(DOCUMENT_PATH, show_document)
    router.add_get(PAGE_PATH, show_page)
    router.add_get(PAGE_PATH + "/{file}", show_file)


async def show_document(_request: web.Request) -> web.Response:
    """GET /openapi.json."""
    return web.Response(body=_document(), content_type=JSON, charset="utf-8")


@cache
def _document() -> bytes:
    return orjson.dumps(api_document())


async def show_page(_request: web.Request) -> web.Response:
    """GET /docs."""
    return _file("docs.html")


async def show_file(request: web.Request) -> web.Response:
    """GET /docs/{file}: one of the few that the page needs. Raises 404 for any other."""
    name = request.match_info["file"]
    if name not in _FROM_PACKAGE and name != "docs.js":
        raise web.HTTPNotFound
    return _file(name)


def _file(name: str) -> web.Response:
    headers: dict[str, str] = {
        hdrs.CONTENT_TYPE: f"{(_FROM_PACKAGE | _FROM_US)[name]}; charset=utf-8"
    }
    if name == "docs.html":
        headers["Content-Security-Policy"] = _POLICY
    else:
        headers[hdrs.CACHE_CONTROL] = _DAY
    return web.Response(body=_bytes_of(name), headers=headers)


@cache
def _bytes_of(name: str) -> bytes:
    """Return a file's bytes, read once: 1.6 MB in all."""
    return ((_OWN if name in _FROM_US else _package_folder()) / name).read_bytes()


def _package_folder() -> Path:
    spec = find_spec("swagger_ui")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("swagger-ui-py is not installed")
    return Path(spec.submodule_search_locations[0]) / "static"
