"""Who may enter the console, and what its answers carry."""

import re

import pytest
from aiohttp import FormData

from deploy.console.access import COOKIE
from deploy.console.sessions import FAILURES_MAX
from tests.integration.console.conftest import BOB_KEY, KEY, Console

PAGES = [
    "/",
    "/dead-letters",
    "/dead-letters/dl-1-0-0-0",
    "/dead-letters/dl-1-1-2-0",
    "/actions",
    "/customers",
    "/customer?id=c1",
    "/event?id=00000000-0000-4000-8000-000000000001",
    "/event?id=00000000-0000-4000-8000-000000000000",
    "/event?id=00000000-0000-4000-8000-000000000007",
    "/event?id=00000000-0000-4000-8000-000000000009",
    "/batch?id=0:1",
    "/batch?id=0:7",
]


async def form_token(console: Console) -> str:
    """Read the token of the session from a page's form."""
    async with console.client.get("/actions") as answer:
        found = re.search(r'name="form_token" value="([^"]+)"', await answer.text())
    assert found is not None
    return found[1]


async def test_a_browser_logs_in_once(console: Console) -> None:
    """Without a session the login; with the key a cookie that scripts cannot read; then pages."""
    async with console.client.get("/", headers={"Accept": "text/html"}) as answer:
        assert answer.url.path == "/login"
    answer = await console.log_in()
    cookie = answer.headers["Set-Cookie"]
    assert answer.status == 303
    assert all(part in cookie for part in ("HttpOnly", "SameSite=Strict", "Path=/"))
    assert KEY not in cookie
    async with console.client.get("/dead-letters", headers={"Accept": "text/html"}) as page:
        assert page.url.path == "/dead-letters"
        assert "ada" in await page.text()


async def test_a_proxy_with_tls_makes_the_cookie_secure(console: Console) -> None:
    """Behind TLS the cookie does not leave it."""
    answer = await console.client.post(
        "/login",
        data={"key": KEY},
        headers={"X-Forwarded-Proto": "https"},
        allow_redirects=False,
    )
    assert "Secure" in answer.headers["Set-Cookie"]


async def test_logging_out_ends_the_session(console: Console) -> None:
    """The cookie of a session that was ended opens nothing."""
    await console.log_in()
    cookies = {cookie.key: cookie.value for cookie in console.client.session.cookie_jar}
    token = await form_token(console)
    await console.client.post("/logout", data={"form_token": token})
    async with console.client.get("/", cookies=cookies, headers={"Accept": "text/html"}) as answer:
        assert answer.url.path == "/login"


@pytest.mark.usefixtures("logs")
async def test_every_page_is_for_browsers_and_programs(console: Console) -> None:
    """Each one is rendered, and the same facts are given as JSON; nobody else gets either."""
    for page in PAGES:
        assert await console.get(page)
        async with console.client.get(page) as answer:
            assert answer.status == 401, page
    await console.log_in()
    for page in PAGES:
        async with console.client.get(page, headers={"Accept": "text/html"}) as answer:
            assert answer.status == 200, page
            assert "</html>" in await answer.text()


async def test_every_answer_has_the_security_headers(console: Console) -> None:
    """Pages, refusals and files: nothing inline, no frame, no name of the software."""
    for path in ("/login", "/", "/nowhere", "/static/console.js", "/health"):
        async with console.client.get(path) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "unsafe" not in policy
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "Server" not in answer.headers


async def test_a_form_needs_the_token_of_its_session(console: Console) -> None:
    """Another site cannot send a form in the operator's name, with the cookie or without."""
    await console.log_in()
    order = {"verb": "discard", "id": "dl-1-0-0-0", "why": "x"}
    async with console.client.post("/dead-letters/act", data=order) as answer:
        assert answer.status == 403
    forged = order | {"form_token": "x" * 43}
    async with console.client.post("/dead-letters/act", data=forged) as answer:
        assert answer.status == 403
    token = await form_token(console)
    async with console.client.post(
        "/dead-letters/act",
        data=order | {"form_token": token},
        headers={"Origin": "http://elsewhere.example"},
    ) as answer:
        assert answer.status == 403
    assert console.actions.recent() == []
    async with console.client.post(
        "/dead-letters/act", data=order | {"form_token": token}
    ) as answer:
        assert answer.status == 200
    assert [action.by for action in console.actions.recent()] == ["ada"]


async def test_the_login_leads_nowhere_else(console: Console) -> None:
    """An address of another site is not gone to after the login."""
    for onward in ("//elsewhere.example", "https://elsewhere.example", "/\\elsewhere.example"):
        answer = await console.client.post(
            "/login", data=FormData({"key": KEY, "next": onward}), allow_redirects=False
        )
        assert answer.headers["Location"] == "/"


async def test_wrong_keys_are_refused_counted_and_not_told(
    console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong key is 401, the eleventh within a minute 429, the right one too; none is logged."""
    wrong = "wrong-key-0123456789"
    for _ in range(FAILURES_MAX):
        async with console.client.get("/actions", headers={"X-API-Key": wrong}) as answer:
            assert answer.status == 401
            assert wrong not in await answer.text()
    answer = await console.log_in(KEY)
    assert answer.status == 429
    assert COOKIE not in answer.cookies
    said = "".join(capsys.readouterr())
    assert "A wrong admin key was shown" in said
    assert wrong not in said
    assert KEY not in said


async def test_two_operators_are_told_apart(console: Console) -> None:
    """Each key acts under its own name, by header or by `Authorization: Bearer`."""
    async with console.client.post(
        "/dead-letters/act",
        data={"verb": "discard", "id": "dl-1-0-0-0", "why": "x"},
        headers={"Authorization": f"Bearer {BOB_KEY}"},
    ) as answer:
        assert (await answer.json())["action"]["by"] == "bob"
