"""The identities of usual events: what `schemas.identity` says, by a compiled loop.

BLAKE2b (RFC 7693) with a digest of 16 bytes and no key. A library's takes half a microsecond an
identity, since each is made, fed and asked as an object.
"""

import numpy as np

from schemas.identity import IDENTITY_BYTES, LENGTHS
from schemas.provider_response import TEXT_LENGTH_MAX
from streams.compiled import Bytes, Numbers, Word, Words, compiled, compiled_unchecked, copy
from streams.quick.scan import CUSTOMER, CUSTOMER_LENGTH, ID, KEY, KEY_LENGTH, UUID_LENGTH

KINDS = 2  # of identities: by id, by key
WORDS = IDENTITY_BYTES // 8

_BLOCK_BYTES = 128
_BLOCK_WORDS = _BLOCK_BYTES // 8
_MESSAGE_BYTES_MAX = LENGTHS.size + 2 * TEXT_LENGTH_MAX
_BLOCKS_MAX = -(-_MESSAGE_BYTES_MAX // _BLOCK_BYTES)

# RFC 7693, sections 2.6 and 2.7.
_INITIAL = np.array(
    [
        0x6A09E667F3BCC908,
        0xBB67AE8584CAA73B,
        0x3C6EF372FE94F82B,
        0xA54FF53A5F1D36F1,
        0x510E527FADE682D1,
        0x9B05688C2B3E6C1F,
        0x1F83D9ABFB41BD6B,
        0x5BE0CD19137E2179,
    ],
    np.uint64,
)
_PARAMETERS = np.uint64(0x01010000 | IDENTITY_BYTES)
_SIGMA = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
    ],
    np.int64,
)
_ROUNDS = 12


@compiled_unchecked
def _turned(word: Word, bits: int) -> Word:
    return word >> np.uint64(bits) | word << np.uint64(64 - bits)


@compiled_unchecked
def _mix(  # noqa: PLR0917 -- as the RFC has it
    a: Word, b: Word, c: Word, d: Word, x: Word, y: Word
) -> tuple[Word, Word, Word, Word]:
    a = a + b + x
    d = _turned(d ^ a, 32)
    c = c + d
    b = _turned(b ^ c, 24)
    a = a + b + y
    d = _turned(d ^ a, 16)
    c = c + d
    b = _turned(b ^ c, 63)
    return a, b, c, d


# Its indices are constants below the sizes of its arrays.
@compiled_unchecked
def _compress(h: Words, m: Words, length: int, is_last: bool) -> None:
    """Take 16 words of the message into the state; `length`: its bytes up to their end."""
    v0, v1, v2, v3, v4, v5, v6, v7 = h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]
    v8, v9, v10, v11 = _INITIAL[0], _INITIAL[1], _INITIAL[2], _INITIAL[3]
    v12, v13 = _INITIAL[4] ^ np.uint64(length), _INITIAL[5]
    v14, v15 = (~_INITIAL[6] if is_last else _INITIAL[6]), _INITIAL[7]
    for number in range(_ROUNDS):
        s = _SIGMA[number % len(_SIGMA)]
        v0, v4, v8, v12 = _mix(v0, v4, v8, v12, m[s[0]], m[s[1]])
        v1, v5, v9, v13 = _mix(v1, v5, v9, v13, m[s[2]], m[s[3]])
        v2, v6, v10, v14 = _mix(v2, v6, v10, v14, m[s[4]], m[s[5]])
        v3, v7, v11, v15 = _mix(v3, v7, v11, v15, m[s[6]], m[s[7]])
        v0, v5, v10, v15 = _mix(v0, v5, v10, v15, m[s[8]], m[s[9]])
        v1, v6, v11, v12 = _mix(v1, v6, v11, v12, m[s[10]], m[s[11]])
        v2, v7, v8, v13 = _mix(v2, v7, v8, v13, m[s[12]], m[s[13]])
        v3, v4, v9, v14 = _mix(v3, v4, v9, v14, m[s[14]], m[s[15]])
    h[0] ^= v0 ^ v8
    h[1] ^= v1 ^ v9
    h[2] ^= v2 ^ v10
    h[3] ^= v3 ^ v11
    h[4] ^= v4 ^ v12
    h[5] ^= v5 ^ v13
    h[6] ^= v6 ^ v14
    h[7] ^= v7 ^ v15


@compiled
def _digest(message: Bytes, words: Words, length: int, h: Words, found: Words) -> None:
    """Write the digest of the first bytes of a message, given as bytes and as words."""
    blocks = max(1, -(-length // _BLOCK_BYTES))
    for at in range(length, blocks * _BLOCK_BYTES):
        message[at] = 0
    h[:] = _INITIAL
    h[0] ^= _PARAMETERS
    for block in range(blocks):
        first = block * _BLOCK_WORDS
        end = min(length, (block + 1) * _BLOCK_BYTES)
        _compress(h, words[first : first + _BLOCK_WORDS], end, block == blocks - 1)
    found[0], found[1] = h[0], h[1]


@compiled
def _begin(message: Bytes, kind: int, customer_length: int, length: int) -> int:
    """Write what comes before the texts: `schemas.identity.LENGTHS`."""
    message[0] = kind
    for at in range(4):
        message[1 + at] = customer_length >> 8 * at & 255
        message[5 + at] = length >> 8 * at & 255
    return 9


@compiled
def identify(text: Bytes, rows: Numbers, found: Words) -> None:
    """Write the identities of each row: by its id, then by its key if it has one."""
    message = np.empty(_BLOCKS_MAX * _BLOCK_BYTES, np.uint8)
    words = message.view(np.uint64)
    h = np.empty(8, np.uint64)
    for number in range(rows.shape[0]):
        row = rows[number]
        at = _begin(message, 105, row[CUSTOMER_LENGTH], UUID_LENGTH)
        at = copy(message, at, text, row[CUSTOMER], row[CUSTOMER_LENGTH])
        at = copy(message, at, text, row[ID], UUID_LENGTH)
        _digest(message, words, at, h, found[number, 0])
        if row[KEY_LENGTH]:
            at = _begin(message, 107, row[CUSTOMER_LENGTH], row[KEY_LENGTH])
            at = copy(message, at, text, row[CUSTOMER], row[CUSTOMER_LENGTH])
            at = copy(message, at, text, row[KEY], row[KEY_LENGTH])
            _digest(message, words, at, h, found[number, 1])
