"""The console as an operator uses it."""

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import ADMIN_KEY, OPERATOR, Customer, Running, Screen
from tests.waiting import wait_until

WAIT_SECONDS = 30.0
WAIT_MS = WAIT_SECONDS * 1_000


def wait_for_charges(running: Running, customer: Customer, count: int) -> None:
    """Wait until so many events of a customer are in the ledger."""
    wait_until(
        lambda: (
            running.count('SELECT count(*) FROM "UsageEvent" WHERE customer_id = %s', customer.id)
            >= count
        ),
        WAIT_SECONDS,
        f"{count} events of {customer.id} are charged",
    )


def wait_for_letters(running: Running, customer: Customer, count: int) -> None:
    """Wait until so many letters of a customer are open."""
    wait_until(
        lambda: (
            running.count(
                "SELECT count(*) FROM \"DeadLetter\" WHERE customer_id = %s AND status = 'OPEN'",
                customer.id,
            )
            >= count
        ),
        WAIT_SECONDS,
        f"{count} letters of {customer.id} are open",
    )


def add_price(running: Running, model: str) -> None:
    """Give a model its prices, and wait until the streams rate by them."""
    for cost_type in ("INPUT_TOKEN", "OUTPUT_TOKEN"):
        running.ledger.execute(
            'INSERT INTO "ProviderCost" (provider, model, cost_type, cost_per_unit, unit_size, '
            "valid_from) VALUES ('OPENAI', %s, %s, 10, 1000000, '2020-01-01')",
            [model, cost_type],
        )
    wanted = running.count('SELECT revision FROM "PriceRevision"')
    pattern = re.compile(r"^burnstream_streams_price_revision (\S+)$", re.MULTILINE)

    def revision() -> float:
        found = pattern.search(running.system.streams[0].metrics())
        return float(found[1]) if found else 0.0

    wait_until(lambda: revision() >= wanted, WAIT_SECONDS, "the streams know the price")


def figure(screen: Screen, name: str) -> Locator:
    """The number on one of the cards."""
    card = screen.page.locator(".figure").filter(has_text=re.compile(f"^\\s*{name}"))
    return card.locator("strong")


def test_an_operator_enters_and_goes_about_by_keyboard(screen: Screen) -> None:
    """The key goes in by the form alone; each step is reached by Tab, and is seen to be."""
    page = screen.page
    page.goto(screen.url + "/dead-letters?reason=UNPRICED")
    expect(page).to_have_title(re.compile("Log in"))
    page.keyboard.type("a wrong one that is long enough")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("No such key.")
    screen.complaints.clear()  # The browser counts a 401 among errors.
    screen.keep("login")
    page.keyboard.type(ADMIN_KEY)
    page.keyboard.press("Enter")
    expect(page).to_have_url(screen.url + "/dead-letters?reason=UNPRICED")
    assert page.evaluate("document.cookie") == ""
    assert page.evaluate("Object.keys(localStorage).length") == 0
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")

    reached = []
    for _ in range(10):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        reached.append(focused.evaluate("one => one.textContent.trim() || one.name"))
        assert focused.evaluate("one => getComputedStyle(one).outlineStyle") == "solid"
    assert reached == [
        *("Skip to the content", "Burnstream", "Dead letters", "Pipeline", "Customers"),
        *("Jobs", "Actions", "q", "Find", "Log out"),
    ]
    page.keyboard.press("Enter")
    expect(page).to_have_title(re.compile("Log in"))
    page.goto(screen.url + "/actions")
    expect(page).to_have_title(re.compile("Log in"))


def test_letters_are_replayed_in_bulk(running: Running, screen: Screen) -> None:
    """Found by a filter, ticked, confirmed, replayed: each is charged once, with who and why."""
    page, customer = screen.page, running.customer("cust-bulk")
    events, _ = customer.send(4, model="gpt-bulk")
    wait_for_letters(running, customer, 4)
    add_price(running, "gpt-bulk")
    screen.log_in()
    screen.open("/dead-letters")
    page.get_by_role("combobox", name="Reason").select_option("UNPRICED")
    page.get_by_role("textbox", name="Customer", exact=True).fill(customer.id)
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("tbody tr")).to_have_count(4)
    page.get_by_label("Tick all of this page").check()
    expect(page.locator("[data-ticked]")).to_have_text("(4)")
    screen.keep("letters")
    page.get_by_role("button", name="Replay …").click()
    expect(page.get_by_role("heading")).to_have_text("Replay 4 letters?")
    page.get_by_label("Why").fill("the price is there")
    screen.keep("confirm")
    page.keyboard.press("Enter")
    expect(page.get_by_text("4 done")).to_be_visible(timeout=WAIT_MS)
    screen.keep("action")
    wait_for_charges(running, customer, 4)

    decided = running.ledger.execute(
        'SELECT DISTINCT status, resolved_by, resolved_reason FROM "DeadLetter" '
        "WHERE customer_id = %s",
        [customer.id],
    ).fetchall()
    assert decided == [("REPLAYED", OPERATOR, "the price is there")]
    begun, ended = (
        record
        for record in running.system.consoles[0].log_records
        if record["event"].startswith("Action") and record["reason"] == "the price is there"
    )
    assert (begun["by"], begun["letters"], ended["done"]) == (OPERATOR, 4, 4)
    assert ADMIN_KEY not in running.system.consoles[0].log

    page.get_by_role("searchbox").fill(events[0])
    page.keyboard.press("Enter")
    expect(page.locator(".way > li h2")).to_have_text(
        ["Raw record", "Verdict", "Price used", "Ledger row", "Wallet"]
    )
    expect(page.get_by_text("replay-of")).to_be_visible()
    expect(page.get_by_text("Rated again by these prices: the same")).to_be_visible()
    screen.keep("event")


def test_a_letter_is_looked_at_and_discarded(running: Running, screen: Screen) -> None:
    """Its bytes are shown, also those that are no text; a discard asks for a reason."""
    page = screen.page
    running.write_raw(b"any", b"\xff\x00 not json <script>alert(1)</script>")
    wait_until(
        lambda: running.count("SELECT count(*) FROM \"DeadLetter\" WHERE reason = 'NOT_JSON'"),
        WAIT_SECONDS,
        "the letter is there",
    )
    screen.log_in()
    screen.open("/dead-letters?reason=NOT_JSON")
    page.locator("tbody a").first.click()
    page.get_by_text("As bytes").click()
    expect(page.locator("pre").last).to_contain_text("00000000  ff 00 20 6e 6f 74")
    screen.keep("letter")
    page.get_by_role("button", name="Discard …").click()
    why = page.get_by_label("Why")
    page.get_by_role("button", name="Discard 1 letter").click()
    assert why.evaluate("one => one.validity.valueMissing")
    why.fill("sent by a test")
    page.get_by_role("button", name="Discard 1 letter").click()
    expect(page.get_by_text("1 done")).to_be_visible(timeout=WAIT_MS)
    page.locator("tbody a").first.click()
    expect(page.locator("h1 .tag")).to_have_text("DISCARDED")
    expect(page.get_by_text("sent by a test")).to_be_visible()


def test_the_pipeline_is_live(running: Running, screen: Screen) -> None:
    """What comes in, waits for a dead sink, and is written shows without loading the page again."""
    page, customer = screen.page, running.customer("cust-live")
    screen.log_in()
    page.evaluate("window.isSamePage = true")
    expect(page.locator("#partitions tbody tr")).to_have_count(4)
    workers = page.locator("#workers tbody tr")
    expect(workers).to_have_count(3, timeout=WAIT_MS)
    completed = int(re.sub(r"\D", "", figure(screen, "Completed").inner_text()))
    customer.send(30)
    shown = re.compile(f"^{completed + 30:,d}$".replace(",", "\u202f"))
    expect(figure(screen, "Completed")).to_have_text(shown, timeout=WAIT_MS)

    running.system.sinks[0].kill()
    customer.send(5)
    expect(figure(screen, "Active")).to_have_text("1", timeout=WAIT_MS)  # One record of five.
    expect(page.get_by_text("burnstream-sinks-0 at 127.0.0.1, silent").first).to_be_visible()
    expect(page.locator(".stage.off .name")).to_have_text("sinks")
    expect(page.locator(".ages text").last).to_have_text(
        re.compile(r"oldest unpaid \d+ s"), timeout=WAIT_MS
    )
    screen.keep("pipeline-without-sinks")
    running.system.sinks[0].start()
    expect(figure(screen, "Active")).to_have_text("0", timeout=2 * WAIT_MS)
    expect(page.locator(".stage.off")).to_have_count(0, timeout=WAIT_MS)
    expect(page.locator("#batches tbody tr").first).to_contain_text("5")
    assert page.evaluate("window.isSamePage") is True
    screen.keep("pipeline")


def test_a_console_that_ends_is_said_and_comes_back(running: Running, screen: Screen) -> None:
    """A page that stands still says so; after a restart the login is asked for."""
    page = screen.page
    screen.log_in()
    console = running.system.consoles[0]
    assert console.stop() == 0
    expect(page.get_by_role("status")).to_contain_text("stand still", timeout=WAIT_MS)
    console.start()
    expect(page).to_have_title(re.compile("Log in"), timeout=2 * WAIT_MS)
    screen.complaints.clear()  # Refused connections.


def spread_burns(running: Running, customer: Customer) -> None:
    """Move a customer's burns into the past: one every 40 minutes, the last one just now."""
    running.ledger.execute(
        'UPDATE "CreditTransaction" AS burn '
        "SET created_at = now() - (wallet.last_seq - burn.wallet_seq) * interval '40 min' "
        'FROM "CreditWallet" AS wallet '
        "WHERE wallet.id = burn.wallet_id AND burn.customer_id = %s",
        [customer.id],
    )


BARS = """
canvas => {
  const bar = getComputedStyle(document.documentElement).getPropertyValue("--bar").trim();
  const [r, g, b] = [1, 3, 5].map(at => parseInt(bar.slice(at, at + 2), 16));
  const { data, width } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const columns = new Set();
  for (let at = 0; at < data.length; at += 4) {
    if (data[at] === r && data[at + 1] === g && data[at + 2] === b) columns.add(at / 4 % width);
  }
  return columns.size / width;
}
"""


def test_a_customers_burn_is_drawn_and_forecast(running: Running, screen: Screen) -> None:
    """The chart has its bars in light and dark; figures are the ledger's; it says when it ends."""
    page, customer = screen.page, running.customer("cust-chart")
    for number in range(12):
        for _ in range(8):
            customer.send(input_tokens=2_000 * (1 + number % 6) ** 2)
    wait_for_charges(running, customer, 96)
    spread_burns(running, customer)
    screen.log_in()
    screen.open(f"/customer?id={customer.id}")
    balance = running.count(
        'SELECT balance FROM "CreditWallet" WHERE customer_id = %s', customer.id
    )
    shown = f"{balance:,d}".replace(",", "\u202f")
    expect(figure(screen, "Balance")).to_have_text(shown)
    expect(figure(screen, "Runs out")).to_have_text(re.compile(r"\d+ d"))
    canvas = page.locator(".chart canvas")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        wait_until(lambda: canvas.evaluate(BARS) > 0.4, WAIT_SECONDS, "the bars are drawn")
        page.locator(".chart").hover()
        expect(page.locator(".u-legend")).to_contain_text(re.compile(r"Credits.*\d"))
        screen.scheme = scheme
        screen.keep("customer")
    page.get_by_text("As a table").click()
    hours = page.locator("details table tbody tr td.number").all_inner_texts()
    burned = running.count(
        'SELECT sum(-amount)::bigint FROM "CreditTransaction" WHERE customer_id = %s '
        "AND transaction_type = 'BURN'",
        customer.id,
    )
    assert sum(int(re.sub(r"\D", "", one)) for one in hours) == burned
    customer.send()
    expect(figure(screen, "Balance")).not_to_have_text(shown, timeout=WAIT_MS)
    expect(page.locator("details table")).to_be_visible()  # What was open stays open.


# Text on what is behind it: 4.5 to 1, or 3 to 1 where it is large.
CONTRAST = """
() => {
  const numbers = colour => (colour.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = one => {
    for (; one; one = one.parentElement) {
      const found = numbers(getComputedStyle(one).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const one of document.querySelectorAll("main *, header *")) {
    const has = [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    const style = getComputedStyle(one);
    if (!has || one.closest("svg, .chart, option, .hidden") || !one.offsetParent) continue;
    const [a, b] = [light(numbers(style.color)), light(ground(one))].sort((x, y) => y - x);
    const needed = parseFloat(style.fontSize) >= 24 ? 3 : 4.5;
    if ((a + 0.05) / (b + 0.05) < needed) poor.push(one.textContent.trim() + " " + style.color);
  }
  return poor;
}
"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_readable(running: Running, screen: Screen, scheme: str) -> None:
    """In light and dark, on a wide and a narrow screen: contrast, no sideways scrolling, names."""
    page, customer = screen.page, running.customer(f"cust-pages-{scheme}")
    events, batch_id = customer.send(3)
    wait_for_charges(running, customer, 3)
    customer.send(2, model="gpt-pages")
    wait_for_letters(running, customer, 2)
    running.ledger.execute(
        'INSERT INTO "JobProgress" VALUES (%s, 0, 0, 9000000, 6000000, 2000000, 4000)'
        " ON CONFLICT (job, partition) DO UPDATE SET told_at = now()",
        ["june"],
    )
    screen.log_in()
    paths: dict[str, Any] = {
        "pipeline": "/",
        "letters": f"/dead-letters?customer={customer.id}",
        "event": f"/event?id={events[0]}",
        "batch": f"/batch?id={batch_id}",
        "customers": "/customers",
        "customer": f"/customer?id={customer.id}",
        "jobs": "/jobs",
        "actions": "/actions",
        "nothing": "/customers?q=nobody-of-this-name",
    }
    for name, path in paths.items():
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 860})
            screen.open(path)
            page.locator("h1").wait_for()
            assert page.evaluate(CONTRAST) == [], (name, scheme)
            assert page.evaluate(OVERFLOW) <= 0, (name, width)
            screen.keep(f"{name}-{width}")
        unnamed = page.evaluate(
            "[...document.querySelectorAll('main input:not([type=hidden]), main select')]"
            ".filter(one => !one.labels.length && !one.ariaLabel).map(one => one.outerHTML)"
        )
        assert unnamed == [], name
