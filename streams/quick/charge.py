"""What usual events cost: two multiplications each, by a compiled loop.

`schemas.pricing` says what an event costs. Here is the case that nearly all are: token usage whose
two prices are whole attodollars, of a customer without rates of its own, for less than nine
dollars. All else is left to it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import orjson

from schemas.pricing import ATTODOLLARS_PER_CREDIT, PriceBook, Tariff
from schemas.timestamps import epoch_microseconds
from streams.compiled import Bytes, Flags, Numbers, compiled
from streams.quick.names import hash_of, is_same
from streams.quick.scan import (
    EVENT_TYPE,
    EVENT_TYPES,
    MICROSECONDS,
    MODEL,
    MODEL_LENGTH,
    PROVIDER,
    PROVIDERS,
    TOKENS_IN,
    TOKENS_OUT,
)

NOT_HERE = -1  # the terms of an event that `schemas.pricing` must rate
UNKNOWN = -2  # those of one whose model nobody asked about before

_TOKEN_USAGE = EVENT_TYPES.index("TOKEN_USAGE")
# What is below, as a sum of two products in floats, is exact in 64 bits: 2^63 is 9.22e18.
_COST_BOUND = 9.0e18
_NEVER_BEGAN = -(1 << 63)
_SLOTS_PER_MODEL = 4

# Columns of a model: where its name stands, and which terms are its.
_MODEL_PROVIDER, _NAME, _NAME_LENGTH, _TERMS_FROM, _TERMS_END = range(5)
# Columns of terms: the microsecond from which they are in force, attodollars of a token each way,
# and where the JSON of the price ids stands: of no length where `schemas.pricing` must rate.
SINCE, PRICE_IN, PRICE_OUT, PRICE_IDS, PRICE_IDS_LENGTH = range(5)


class Tables(NamedTuple):
    """Tariffs as arrays: names and price ids, a row per model, a row per terms, and an index.

    The terms of a model stand one after another, as they came into force. A slot of the index holds
    1 + the number of a model, 0: it is free.
    """

    text: Bytes
    models: Numbers
    terms: Numbers
    slots: Numbers


class Charged(NamedTuple):
    """By row: credits, attodollars, and the number of the terms that said so, or `NOT_HERE`."""

    credits: Numbers
    attodollars: Numbers
    terms: Numbers


class Tariffs:
    """The tariffs of one price book, made into arrays when they are first asked for."""

    def __init__(self, book: PriceBook) -> None:
        self.book = book
        self._text = bytearray()
        self._models: list[Sequence[int]] = []
        self._terms: list[Sequence[int]] = []
        self.tables = self._made()

    def charge(self, text: Bytes, rows: Numbers, has_own_rates: Flags) -> Charged:
        """Return what the events of rows cost. `has_own_rates`: by row, as its customer has."""
        count = len(rows)
        charged = Charged(*(np.empty(count, np.int64) for _ in Charged._fields))
        if _charge(text, rows, has_own_rates, *self.tables, *charged) and self._learn(
            text, rows[charged.terms == UNKNOWN]
        ):
            _charge(text, rows, has_own_rates, *self.tables, *charged)
        charged.terms[charged.terms == UNKNOWN] = NOT_HERE
        return charged

    def _learn(self, text: Bytes, rows: Numbers) -> bool:
        """Take in the tariffs of models that the index has not; tell whether there are any."""
        named = {
            (provider, bytes(text[at : at + length]).decode())
            for provider, at, length in rows[:, [PROVIDER, MODEL, MODEL_LENGTH]].tolist()
        }
        # A model that no price names is nothing to remember: anybody may make up such names.
        new = [
            (provider, model)
            for provider, model in sorted(named)
            if self.book.has_prices(PROVIDERS[provider], model)
        ]
        for provider, model in new:
            name, first = self._write(model.encode()), len(self._terms)
            tariff = self.book.tariff_of("TOKEN_USAGE", PROVIDERS[provider], model)
            self._terms += self._rows_of(tariff)
            self._models.append((provider, *name, first, len(self._terms)))
        if new:
            self.tables = self._made()
        return bool(new)

    def _rows_of(self, tariff: Tariff) -> list[Sequence[int]]:
        rows: list[Sequence[int]] = []
        starts = map(epoch_microseconds, tariff.starts)
        for since, terms in zip([_NEVER_BEGAN, *starts], tariff.terms, strict=True):
            price_in, price_out, ids = terms.tokens or (-1, -1, ())
            if min(price_in, price_out) < 0 or max(price_in, price_out) > _COST_BOUND:
                rows.append((since, 0, 0, 0, 0))
            else:
                rows.append((since, price_in, price_out, *self._write(orjson.dumps(ids))))
        return rows

    def _write(self, text: bytes) -> tuple[int, int]:
        at = len(self._text)
        self._text += text
        return at, len(text)

    def _made(self) -> Tables:
        text = np.frombuffer(bytes(self._text), np.uint8)
        models = np.array(self._models, np.int64).reshape(-1, 5)
        terms = np.array(self._terms, np.int64).reshape(-1, 5)
        slots = np.zeros(1 << (_SLOTS_PER_MODEL * len(models)).bit_length(), np.int64)
        _index(text, models, slots)
        return Tables(text, models, terms, slots)


@compiled
def _index(text: Bytes, models: Numbers, slots: Numbers) -> None:
    """Put models into an index that is empty."""
    for number in range(models.shape[0]):
        model = models[number]
        slot = hash_of(text, model[_NAME], model[_NAME_LENGTH], 0) & (slots.shape[0] - 1)
        while slots[slot]:
            slot = (slot + 1) & (slots.shape[0] - 1)
        slots[slot] = 1 + number


@compiled
def _find(text: Bytes, row: Numbers, names: Bytes, models: Numbers, slots: Numbers) -> int:
    """Return the number of the row's model, or -1."""
    at, length = row[MODEL], row[MODEL_LENGTH]
    slot = hash_of(text, at, length, 0) & (slots.shape[0] - 1)
    while slots[slot]:
        number = slots[slot] - 1
        model = models[number]
        if (
            model[_MODEL_PROVIDER] == row[PROVIDER]
            and model[_NAME_LENGTH] == length
            and is_same(text, at, names, model[_NAME], length)
        ):
            return number
        slot = (slot + 1) & (slots.shape[0] - 1)
    return -1


@compiled
def _in_force(terms: Numbers, first: int, end: int, microseconds: int) -> int:
    """Return the number of the terms in force; the first ones always were."""
    while end - first > 1:
        middle = (first + end) // 2
        if terms[middle, SINCE] <= microseconds:
            first = middle
        else:
            end = middle
    return first


@compiled
def _charge(  # noqa: PLR0917 -- arrays in, arrays out
    text: Bytes,
    rows: Numbers,
    has_own_rates: Flags,
    names: Bytes,
    models: Numbers,
    terms: Numbers,
    slots: Numbers,
    whole_credits: Numbers,
    attodollars: Numbers,
    found: Numbers,
) -> int:
    """Fill in the last three; return how many rows are `UNKNOWN`."""
    unknown = 0
    for number in range(rows.shape[0]):
        row = rows[number]
        found[number] = NOT_HERE
        whole_credits[number] = attodollars[number] = 0
        tokens_in, tokens_out = row[TOKENS_IN], row[TOKENS_OUT]
        if (
            row[EVENT_TYPE] != _TOKEN_USAGE
            or row[PROVIDER] < 0
            or row[MODEL_LENGTH] == 0
            or tokens_in == 0
            or tokens_out == 0
            or has_own_rates[number]
        ):
            continue
        which = _find(text, row, names, models, slots)
        if which < 0:
            found[number] = UNKNOWN
            unknown += 1
            continue
        model = models[which]
        own = _in_force(terms, model[_TERMS_FROM], model[_TERMS_END], row[MICROSECONDS])
        price_in, price_out = terms[own, PRICE_IN], terms[own, PRICE_OUT]
        cost = float(tokens_in) * float(price_in) + float(tokens_out) * float(price_out)
        if terms[own, PRICE_IDS_LENGTH] and cost < _COST_BOUND:
            found[number] = own
            exact = tokens_in * price_in + tokens_out * price_out
            attodollars[number] = exact
            whole_credits[number] = -(-exact // ATTODOLLARS_PER_CREDIT)
    return unknown
