"""Intents read as columns: those that are written as the API writes them, whose text is then their own encoding.

What is written otherwise, or is no intent, is not plain, and who reads one by one (``risk.wire``) has to say what it
is. So this reader knows one form only, and never has to name what is wrong.
"""

import string
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np
from common.avro.compiled import Chosen, Given, Number, Text, Verdict
from common.checks.case import OrderFields, row_of
from common.contracts.values import INT64_MAX, SYMBOL_CHARS_MAX, SYMBOL_SIGNS, TIMES_IN_FORCE
from common.kernels import write_piece

from risk.domain.text_kernel import (
    INTEGER_CHARS,
    NOT_THERE,
    Array,
    characters,
    piece,
    read_integer,
    read_piece,
    read_word,
    write_integer,
)
from risk.kernels import kernel, part

INTENT: Final = row_of(
    OrderFields,
    ("begin", "<i8"),  # of its text
    ("end", "<i8"),
    ("account_end", "<i8"),  # the account's id begins ACCOUNT_AT behind ``begin``
    ("client_begin", "<i8"),  # of the client order id
    ("client_end", "<i8"),
    ("symbol_begin", "<i8"),
    ("sent_ns", "<i8"),
    ("symbol_length", "<i4"),
    ("plain", "?"),
)
SYMBOL_CHARS: Final = SYMBOL_CHARS_MAX
ACCOUNT_CHARS: Final = 32
CLIENT_CHARS: Final = 64
SLOT_BYTES: Final = 2
SLOTS: Final = 4_096
ROW_KEY_CHARS: Final = SLOT_BYTES + ACCOUNT_CHARS + 1 + CLIENT_CHARS
"""See ``risk.tables.order_key``."""
POSITION_KEY_CHARS: Final = ACCOUNT_CHARS + 1 + SYMBOL_CHARS
"""See ``risk.tables.position_key``."""

_WORD: Final = characters(string.ascii_letters + string.digits + "_-")
_SYMBOL: Final = characters(string.ascii_uppercase + string.digits + SYMBOL_SIGNS)
_SYMBOL_FIRST: Final = characters(string.ascii_uppercase + string.digits)
_CRC32: Final = np.array([crc32(bytes([byte ^ 0xFF])) ^ 0xFF00_0000 for byte in range(256)], np.uint32)
"""By byte; taken from the library's answers, so that no polynomial stands here."""

_ACCOUNT: Final = piece('{"account_id":"')
ACCOUNT_AT: Final = len(_ACCOUNT)
_CLIENT: Final = piece('","client_order_id":"')
_SYMBOL_NAME: Final = piece('","symbol":"')
_SIDE: Final = piece('","side":"')
_TYPE: Final = piece('","order_type":"')
_LIMIT: Final = piece("LIMIT")
_MARKET: Final = piece("MARKET")
_TIME: Final = piece('","time_in_force":"')
_TIMES: Final = np.array([piece(each) for each in TIMES_IN_FORCE])
"""By their numbers; all are as long."""
_QTY: Final = piece('","qty":')
_LIMIT_PRICE: Final = piece(',"limit_price_e4":')
_SENT: Final = piece(',"sent_ns":')
_MIN_QTY: Final = piece(',"min_qty":')
_EXPIRE: Final = piece(',"expire_ns":')
_BUY: Final = ord("B")
_SELL: Final = ord("S")
_CLOSE: Final = ord("}")
_DOT: Final = ord(".")
_SLASH: Final = ord("/")
_INTENT_PIECES: Final = (
    _ACCOUNT, _CLIENT, _SYMBOL_NAME, _SIDE, _TYPE, _MARKET, _TIME, _TIMES[0], _QTY, _LIMIT_PRICE, _SENT,
    _MIN_QTY, _EXPIRE,
)  # fmt: skip
INTENT_CHARS: Final = sum(map(len, _INTENT_PIECES)) + 1 + 5 * INTEGER_CHARS + 1
"""Most characters of an intent's text, without the names in it."""

FRAMED_COLUMNS: Final = (
    Text("account_id", "account_begin", "account_end"),
    Text("client_order_id", "client_begin", "client_end"),
    Text("symbol", "symbol_begin", "symbol_end"),
    Chosen("side", "B", "says_buy"),
    Chosen("side", "S", "says_sell"),
    Chosen("order_type", "LIMIT", "says_limit"),
    Chosen("order_type", "MARKET", "says_market"),
    Number("time_in_force", "said_time"),
    Number("qty", "said_qty"),
    Given("limit_price_e4", "says_price"),
    Number("limit_price_e4", "said_price_e4"),
    Number("sent_ns", "said_ns"),
    Given("min_qty", "says_min"),
    Number("min_qty", "said_min_qty"),
    Given("expire_ns", "says_expiry"),
    Number("expire_ns", "said_expire_ns"),
)
"""All that a framed intent says; the fields of an order are what the text then says."""
_SOUND: Final = int(Verdict.SOUND)
_NO_NUMBER: Final = -INT64_MAX - 1
"""No number of any message."""


# --- framed intents as text ---------------------------------------------------------------------------------------


@part
def _is_name(data, at, end):
    """Whether it can stand in a text as it is; which names an order may have is asked where the text is read."""
    while at < end and (_WORD[data[at]] or _SYMBOL[data[at]]):
        at += 1
    return at == end


@part
def _has_text(data, row):
    """Whether the text that would be written says everything that the record does."""
    return (
        row.says_buy != row.says_sell
        and row.says_limit != row.says_market
        and row.said_time < _TIMES.shape[0]
        and row.said_qty != _NO_NUMBER
        and row.said_price_e4 != _NO_NUMBER
        and row.said_ns != _NO_NUMBER
        and row.said_min_qty != _NO_NUMBER
        and row.said_expire_ns != _NO_NUMBER
        and _is_name(data, row.account_begin, row.account_end)
        and _is_name(data, row.client_begin, row.client_end)
        and _is_name(data, row.symbol_begin, row.symbol_end)
    )


@part
def _write_intent(text, at, data, row):
    """As the API writes it. Returns the position after it."""
    at = write_piece(text, at, _ACCOUNT, 0, _ACCOUNT.size)
    at = write_piece(text, at, data, row.account_begin, row.account_end)
    at = write_piece(text, at, _CLIENT, 0, _CLIENT.size)
    at = write_piece(text, at, data, row.client_begin, row.client_end)
    at = write_piece(text, at, _SYMBOL_NAME, 0, _SYMBOL_NAME.size)
    at = write_piece(text, at, data, row.symbol_begin, row.symbol_end)
    at = write_piece(text, at, _SIDE, 0, _SIDE.size)
    text[at] = _SELL if row.says_sell else _BUY
    at = write_piece(text, at + 1, _TYPE, 0, _TYPE.size)
    kind = _MARKET if row.says_market else _LIMIT
    at = write_piece(text, at, kind, 0, kind.size)
    at = write_piece(text, at, _TIME, 0, _TIME.size)
    at = write_piece(text, at, _TIMES[row.said_time], 0, _TIMES.shape[1])
    at = write_piece(text, at, _QTY, 0, _QTY.size)
    at = write_integer(text, at, row.said_qty)
    if row.says_price:
        at = write_piece(text, at, _LIMIT_PRICE, 0, _LIMIT_PRICE.size)
        at = write_integer(text, at, row.said_price_e4)
    at = write_piece(text, at, _SENT, 0, _SENT.size)
    at = write_integer(text, at, row.said_ns)
    if row.says_min:
        at = write_piece(text, at, _MIN_QTY, 0, _MIN_QTY.size)
        at = write_integer(text, at, row.said_min_qty)
    if row.says_expiry:
        at = write_piece(text, at, _EXPIRE, 0, _EXPIRE.size)
        at = write_integer(text, at, row.said_expire_ns)
    text[at] = _CLOSE
    return at + 1


@kernel
def write_intents(data, begins, ends, rows, verdicts, text, text_ends):
    """Framed intents as text, and everything else as it is, for ``text`` to be read as if all had been text.

    ``rows`` and ``verdicts`` are what a reader of ``FRAMED_COLUMNS`` says of ``data[begins[i]:ends[i]]``.
    """
    at = 0
    for i in range(ends.size):
        if verdicts[i] == _SOUND and _has_text(data, rows[i]):
            at = _write_intent(text, at, data, rows[i])
        else:
            at = write_piece(text, at, data, begins[i], ends[i])
        text_ends[i] = at


# --- text ---------------------------------------------------------------------------------------------------------


@part
def _read_choices(text, at, end, row):
    """From side to time in force. Returns the position after it."""
    at = read_piece(text, at, end, _SIDE)
    if at < 0 or at >= end or (text[at] != _BUY and text[at] != _SELL):
        return NOT_THERE
    row.sell = text[at] == _SELL
    at = read_piece(text, at + 1, end, _TYPE)
    after = read_piece(text, at, end, _LIMIT)
    row.is_market = after < 0
    if row.is_market:
        after = read_piece(text, at, end, _MARKET)
    at = read_piece(text, after, end, _TIME)
    for number in range(_TIMES.shape[0]):
        after = read_piece(text, at, end, _TIMES[number])
        if after >= 0:
            row.time_in_force = number
            return after
    return NOT_THERE


@part
def _read_given(text, at, end, name):
    """A number that need not be there: whether it is, the number, and the position after it."""
    after = read_piece(text, at, end, name)
    if after < 0:
        return False, np.int64(0), at
    number, after = read_integer(text, after, end)
    return True, number, after


@part
def _read_numbers(text, at, end, row):
    """From quantity to the end. Returns the position after it."""
    qty, at = read_integer(text, read_piece(text, at, end, _QTY), end)
    priced, limit_price_e4, at = _read_given(text, at, end, _LIMIT_PRICE)
    sent_ns, at = read_integer(text, read_piece(text, at, end, _SENT), end)
    has_min, min_qty, at = _read_given(text, at, end, _MIN_QTY)
    expires, expire_ns, at = _read_given(text, at, end, _EXPIRE)
    row.qty = qty
    row.priced, row.limit_price_e4 = priced, limit_price_e4
    row.sent_ns = sent_ns
    row.has_min, row.min_qty = has_min, min_qty
    row.expires, row.expire_ns = expires, expire_ns
    if at < 0 or sent_ns < 0 or expire_ns < 0 or at >= end or text[at] != _CLOSE:
        return NOT_THERE
    return at + 1


@part
def _read_names(text, at, end, keys, key_begin, key_end, row, symbol):
    """From the beginning to the symbol; the account has to be the record's key. Returns the position after it."""
    account = read_piece(text, at, end, _ACCOUNT)
    row.account_end = read_word(text, account, end, _WORD, ACCOUNT_CHARS)
    if row.account_end < 0 or row.account_end - account != key_end - key_begin:
        return NOT_THERE
    for k in range(key_end - key_begin):
        if text[account + k] != keys[key_begin + k]:
            return NOT_THERE
    row.client_begin = read_piece(text, row.account_end, end, _CLIENT)
    row.client_end = read_word(text, row.client_begin, end, _WORD, CLIENT_CHARS)
    begin = read_piece(text, row.client_end, end, _SYMBOL_NAME)
    after = read_word(text, begin, end, _SYMBOL, SYMBOL_CHARS)
    if after < 0 or not _SYMBOL_FIRST[text[begin]]:
        return NOT_THERE
    row.symbol_begin = begin
    row.symbol_length = after - begin
    for k in range(SYMBOL_CHARS):
        symbol[k] = text[begin + k] if k < after - begin else 0
    return after


@part
def _write_row_key(text, row, row_key):
    """The slot and the order id; zeros behind them."""
    checksum = np.uint32(0xFFFF_FFFF)
    at = SLOT_BYTES
    for k in range(row.begin + ACCOUNT_AT, row.account_end + 1):
        byte = text[k] if k < row.account_end else _DOT
        row_key[at] = byte
        checksum = _CRC32[(checksum ^ byte) & 0xFF] ^ (checksum >> np.uint32(8))
        at += 1
    for k in range(row.client_begin, row.client_end):
        row_key[at] = text[k]
        checksum = _CRC32[(checksum ^ text[k]) & 0xFF] ^ (checksum >> np.uint32(8))
        at += 1
    for k in range(at, ROW_KEY_CHARS):
        row_key[k] = 0
    slot = (checksum ^ np.uint32(0xFFFF_FFFF)) % SLOTS
    row_key[0] = slot >> np.uint32(8)
    row_key[1] = slot & np.uint32(0xFF)


@kernel
def _read_intents(text, ends, keys, key_ends, intents, symbols, row_keys):
    begin = key_begin = 0
    for i in range(ends.size):
        end, key_end = ends[i], key_ends[i]
        row = intents[i]
        row.begin = begin
        row.end = end
        at = _read_names(text, begin, end, keys, key_begin, key_end, row, symbols[i])
        at = _read_numbers(text, _read_choices(text, at, end, row), end, row)
        row.plain = at == end
        if row.plain:
            _write_row_key(text, row, row_keys[i])
        begin, key_begin = end, key_end


@kernel
def _write_position_keys(text, intents, which, position_keys):
    for number in range(which.size):
        row, position_key = intents[which[number]], position_keys[number]
        account = row.begin + ACCOUNT_AT
        account_chars = row.account_end - account
        for k in range(account_chars):
            position_key[k] = text[account + k]
        position_key[account_chars] = _SLASH
        for k in range(row.symbol_length):
            position_key[account_chars + 1 + k] = text[row.symbol_begin + k]


class Intents(NamedTuple):
    """Intents in columns."""

    text: Array
    """uint8: their values, one after the other."""
    rows: Array
    """INTENT[n]."""
    symbols: list[bytes]
    row_keys: list[bytes]
    """Keys of the intents' rows in ``orders``."""
    slots: Array
    """uint16[n]: what the row keys begin with."""

    def values(self, which: Array | slice) -> Iterator[bytes]:
        """The texts of some of them."""
        begins, ends = (self.rows[name][which].tolist() for name in ("begin", "end"))
        return map(bytes, map(self.text.data.__getitem__, map(slice, begins, ends)))

    def part(self, begin: int, end: int) -> "Intents":
        """Some of them."""
        some = slice(begin, end)
        return Intents(self.text, self.rows[some], self.symbols[some], self.row_keys[some], self.slots[some])

    def position_keys(self, which: Array) -> list[bytes]:
        """Keys in ``positions`` of what some of them, by their numbers, would move; they have to be plain."""
        position_keys = np.zeros((which.size, POSITION_KEY_CHARS), np.uint8)
        _write_position_keys(self.text, self.rows, which, position_keys)
        return _texts(position_keys)


def _texts(characters_of: Array) -> list[bytes]:
    """Each row of characters without the zeros at its end."""
    texts: list[bytes] = characters_of.view(f"S{characters_of.shape[1]}").ravel().tolist()
    return texts


def read_intents(values: Sequence[bytes], keys: Sequence[bytes]) -> Intents:
    """Reads each value with the key of its record; what is not ``plain`` has no symbol and no row key that counts."""
    ends = np.cumsum(np.fromiter(map(len, values), np.int64, len(values)))
    return read_texts(np.frombuffer(b"".join(values), np.uint8), ends, keys)


def read_texts(text: Array, ends: Array, keys: Sequence[bytes]) -> Intents:
    """The same of texts that stand one behind the other and end at ``ends``."""
    count = len(keys)
    rows = np.empty(count, INTENT)
    symbols = np.zeros((count, SYMBOL_CHARS), np.uint8)
    row_keys = np.zeros((count, ROW_KEY_CHARS), np.uint8)
    _read_intents(
        text, ends, np.frombuffer(b"".join(keys), np.uint8), np.cumsum(np.fromiter(map(len, keys), np.int64, count)),
        rows, symbols, row_keys,
    )  # fmt: skip
    return Intents(
        text,
        rows,
        _texts(symbols),
        _texts(row_keys),
        row_keys[:, :SLOT_BYTES].copy().view(">u2").ravel().astype(np.uint16),
    )


def runs_of(plain: Array) -> Iterator[tuple[int, int, bool]]:
    """Begin and end of each stretch of flags that are alike, and what they are."""
    edges = np.flatnonzero(plain[1:] != plain[:-1]) + 1
    for begin, end in pairwise([0, *edges.tolist(), len(plain)]):
        yield begin, end, bool(plain[begin])
