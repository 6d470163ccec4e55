"""The page of the API document, under the policy that it is served with."""

import json

from playwright.sync_api import expect

from tests.api_conformance import operations
from tests.browser.conftest import Running, Screen

WAIT_MS = 30_000


def test_the_page_shows_the_document_and_asks_the_gateway(running: Running, screen: Screen) -> None:
    """Swagger UI from the gateway's own files: it complains of nothing, asks nobody else, works."""
    page = screen.page
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url))
    page.goto(f"{running.system.gateway_url}/docs")

    expect(page.get_by_text("Take in usage events")).to_be_visible(timeout=WAIT_MS)
    assert page.locator(".opblock").count() == len(operations())
    page.locator("#operations-events-ingestEvents .opblock-summary-control").click()
    expect(page.get_by_text("Kafka has acknowledged the events").first).to_be_visible()
    screen.keep("api")
    page.locator("#operations-service-info .opblock-summary-control").click()
    page.get_by_role("button", name="Try it out").last.click()
    page.get_by_role("button", name="Execute").click()
    shown = page.locator("#operations-service-info .live-responses-table .highlight-code").first
    expect(shown).to_contain_text("ingestion-service", timeout=WAIT_MS)

    assert {url.split("/")[2] for url in asked if not url.startswith("data:")} == {
        running.system.gateway_url.split("/")[2]
    }, json.dumps(sorted(asked))
