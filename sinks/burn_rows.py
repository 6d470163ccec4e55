"""Ledger rows of debits, rows of CreditTransaction, as binary COPY reads them."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sinks.binary_columns import Bytes, FixedFields, Int64s
from sinks.copy_rows import CREDIT_TRANSACTION_COLUMNS, text_field
from sinks.wallets import Burns

BURN_DESCRIPTION = "AI usage credit burn"
BURN_RANDOMNESS_BYTES = 9
ROWS_PER_PIECE = 500  # as much as psycopg sends in one go

_COUNT_START_MAX = (1 << 47) - 1  # room to count on within 48 bits
_COUNT_DIGITS = 12
_ID_LENGTH = len("txn-") + 36
_HEX_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
_SHIFTS = np.arange(4 * _COUNT_DIGITS - 4, -1, -4)
_HEAD = FixedFields(
    len(CREDIT_TRANSACTION_COLUMNS),
    id=f"({_ID_LENGTH},)u1",
    usage_event_id="V16",
    amount=">i8",
    balance_before=">i8",
    balance_after=">i8",
    wallet_seq=">i8",
    created_at=">i8",
)
_TAIL = text_field("BURN") + text_field(BURN_DESCRIPTION)


def burn_tail(wallet_id: str, customer_id: str) -> bytes:
    """Return what all ledger rows of a wallet end with."""
    return text_field(wallet_id) + text_field(customer_id) + _TAIL


def burn_rows(
    burns: Burns,
    usage_event_ids: NDArray[np.void],
    tails: Sequence[bytes],
    milliseconds: int,
    randomness: bytes,
) -> Iterator[bytes]:
    """Yield the ledger rows in pieces, each row with an id of 'txn-' and a UUID of version 7.

    `usage_event_ids`: 16 bytes each, by the number of the debit; `tails`: by the number of the
    wallet. `milliseconds` since 1970 lead the ids; with BURN_RANDOMNESS_BYTES of `randomness` their
    rest begins, and its last 48 bits count on: the index grows at its very end.
    """
    digits = randomness.hex()
    stamp = f"{milliseconds:012x}"
    prefix = f"txn-{stamp[:8]}-{stamp[8:]}-7{digits[:3]}-a{digits[3:6]}-".encode()
    first = int(digits[6:], 16) & _COUNT_START_MAX
    for start in range(0, len(burns.debits), ROWS_PER_PIECE):
        piece = slice(start, start + ROWS_PER_PIECE)
        before, credits_ = burns.balances_before[piece], burns.credits[piece]
        heads = _HEAD.rows(
            len(before),
            id=_ids(prefix, first + start, len(before)),
            usage_event_id=usage_event_ids[burns.debits[piece]],
            amount=-credits_,
            balance_before=before,
            balance_after=before - credits_,
            wallet_seq=burns.wallet_seqs[piece],
            created_at=burns.created_at[piece],
        )
        wallets = burns.wallets[piece].tolist()
        yield b"".join(
            [
                part
                for head, wallet in zip(heads, wallets, strict=True)
                for part in (head, tails[wallet])
            ]
        )


def _ids(prefix: bytes, first: int, count: int) -> Bytes:
    found = np.empty((count, _ID_LENGTH), np.uint8)
    found[:, :-_COUNT_DIGITS] = np.frombuffer(prefix, np.uint8)
    numbers: Int64s = np.arange(first, first + count)
    found[:, -_COUNT_DIGITS:] = _HEX_DIGITS[numbers[:, np.newaxis] >> _SHIFTS & 15]
    return found
