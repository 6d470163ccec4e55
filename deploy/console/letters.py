"""Dead letters: list, look at, replay, discard; what is to be done is confirmed first."""

from collections.abc import Mapping
from dataclasses import asdict

from aiohttp import web

from deploy.console.actions import Actions, Verb
from deploy.console.ledger import LEDGER
from deploy.console.letter_filter import (
    ACTION_LETTERS_MAX,
    PAGE_LETTERS,
    STATUSES,
    FilterError,
    LetterFilter,
)
from deploy.console.pages import OPERATOR, page
from schemas.dead_letter import Reason

ACTIONS = web.AppKey("actions", Actions)
PATH = "/dead-letters"
WHY_LENGTH_MAX = 500
# A letter that was replayed may be replayed again, and is charged once; a discard is for good.
_STATUSES_OF = {Verb.REPLAY: ["OPEN", "REPLAYED"], Verb.DISCARD: ["OPEN"]}


def _filter_of(given: Mapping[str, object]) -> LetterFilter:
    try:
        return LetterFilter.parse(given)
    except FilterError as error:
        raise web.HTTPBadRequest(text=str(error)) from None


async def list_letters(request: web.Request) -> web.Response:
    """GET /dead-letters: a page of those that a filter names, and how many there are."""
    wanted = _filter_of(request.query)
    number = _page_number(request)
    ledger, values = request.app[LEDGER], asdict(wanted)
    skip = (number - 1) * PAGE_LETTERS
    letters = await ledger.fetch("letters", **values, limit=PAGE_LETTERS, skip=skip)
    counts = await ledger.fetch("letter_counts", **values)
    facts = {
        "filter": wanted,
        "query": wanted.query(),
        "letters": letters,
        "counts": counts,
        "total": sum(one["letters"] for one in counts),
        "page_number": number,
        "page_letters": PAGE_LETTERS,
        "statuses": STATUSES,
        "reasons": list(Reason),
    }
    return page(request, "letters.html", facts)


def _page_number(request: web.Request) -> int:
    text = request.query.get("page", "1")
    if not (text.isascii() and text.isdigit() and 0 < int(text[:7]) <= ACTION_LETTERS_MAX):
        raise web.HTTPBadRequest(text="page: a number from 1 on")
    return int(text)


async def show_letter(request: web.Request) -> web.Response:
    """GET /dead-letters/{id}: everything that is known of one, with its bytes."""
    letter_id = request.match_info["id"]
    letter = await request.app[LEDGER].find("letter", id=letter_id)
    if letter is None:
        raise web.HTTPNotFound(text=f"There is no dead letter {letter_id}.")
    return page(request, "letter.html", {"letter": letter})


async def confirm(request: web.Request) -> web.Response:
    """POST /dead-letters/confirm: show what would be done to which letters, and ask why."""
    verb, ids = await _order(request)
    facts = {
        "verb": verb,
        "letter_ids": ids,
        "letters_max": ACTION_LETTERS_MAX,
        "why_length_max": WHY_LENGTH_MAX,
    }
    return page(request, "confirm.html", facts)


async def act(request: web.Request) -> web.Response:
    """POST /dead-letters/act: do it; the answer leads to what becomes of it."""
    verb, ids = await _order(request)
    why = str((await request.post()).get("why", "")).strip()
    if len(why) > WHY_LENGTH_MAX or (verb is Verb.DISCARD and not why):
        raise web.HTTPBadRequest(
            text=f"why: at most {WHY_LENGTH_MAX} characters; a discard needs them"
        )
    if not ids:
        raise web.HTTPBadRequest(text="No letter is named.")
    action = request.app[ACTIONS].begin(verb, ids, request[OPERATOR], why or None)
    raise web.HTTPSeeOther(f"/actions/{action.id}")


async def _order(request: web.Request) -> tuple[Verb, list[str]]:
    """Read what is to be done to which letters: named by `id`, or with `scope=filter` by a filter.

    A page names what was confirmed one by one: what comes meanwhile is not acted upon.
    """
    form = await request.post()
    try:
        verb = Verb(str(form.get("verb", "")))
    except ValueError:
        raise web.HTTPBadRequest(text="verb: replay or discard") from None
    if form.get("scope") == "filter":
        rows = await request.app[LEDGER].fetch(
            "letter_ids",
            **asdict(_filter_of(form)),
            statuses=_STATUSES_OF[verb],
            limit=ACTION_LETTERS_MAX,
        )
        return verb, [row["id"] for row in rows]
    ids = list(dict.fromkeys(str(one) for one in form.getall("id", [])))
    if len(ids) > ACTION_LETTERS_MAX:
        raise web.HTTPBadRequest(text=f"at most {ACTION_LETTERS_MAX} letters at once")
    return verb, ids


async def show_action(request: web.Request) -> web.Response:
    """GET /actions/{id}: how far an action is, and what became of each letter."""
    action = request.app[ACTIONS].find(request.match_info["id"])
    if action is None:
        raise web.HTTPNotFound(
            text="This action is not remembered; the letters' own pages say what was done."
        )
    return page(request, "action.html", {"action": action, "is_running": action.is_running})


async def list_actions(request: web.Request) -> web.Response:
    """GET /actions: what was done since the console was started."""
    return page(request, "actions.html", {"actions": request.app[ACTIONS].recent()})
