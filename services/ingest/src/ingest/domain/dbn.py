"""Databento Binary Encoding, versions 1 to 3: orders, trades and best prices into ticks, in bulk. No I/O here.

Source: Databento, "DBN encoding" and the public crate ``dbn``. A record begins with its length in words of 4 bytes, its
type, publisher and instrument; all numbers are little-endian, prices are multiples of 1e-9. Of MBP-10 the best level is
taken, which stands where that of MBP-1, BBO and their consolidated forms does.

| action | MBO | best prices (MBP-1, TBBO, MBP-10, BBO, CMBP-1, CBBO) |
|---|---|---|
| A, C, M | add, cancel, replace under the same reference | the best levels as they are after it |
| T | a trade that touches no order: what it does to the book follows | the same, and a trade |
| F, N | passed over: the cancel or modify that follows says it | as A |
| R | the book is emptied | the same |
"""

from typing import Any, Final, NamedTuple

import numpy as np
from common.contracts.ticks import TICK, TickFlag, TickKind

from ingest.domain.dbn_records import (
    DEFINITION,
    HEADER_BYTES,
    LEAST_BYTES,
    LEVEL_TYPES,
    MBO,
    MBO_BYTES,
    MBP1_BYTES,
    SYMBOL_MAPPING,
    TRADE,
    TRADE_BYTES,
    WORD,
)
from ingest.kernels import kernel, part

ROWS_PER_RECORD: Final = 3
PROBED: Final = 4_096
_UNDEFINED: Final = (1 << 63) - 1
_SNAPSHOT, _TOP = 0x20, 0x40
"""Flags: a record of a snapshot; the best price of a side in a record of MBO, and no order."""
_TICK_WORDS: Final = TICK.itemsize // 8

_A, _C, _M, _T, _R, _F, _N = (ord(letter) for letter in "ACMTRFN")
_B: Final = ord("B")
_BUY, _SELL = ord("B"), ord("S")
_ADD, _CANCEL, _REPLACE = int(TickKind.ADD), int(TickKind.CANCEL), int(TickKind.REPLACE)
_DELETE, _PRINT, _CLEAR = int(TickKind.DELETE), int(TickKind.TRADE), int(TickKind.BOOK_CLEAR)
_PRINTABLE: Final = int(TickFlag.PRINTABLE)

END, FULL, NEW_INSTRUMENT, DEFINED, DAMAGED = range(5)
"""Why the kernel came back: the data are used up, the rows are, or the record there needs Python."""
AGREEING: Final = 3
"""Records in a row by which the way on is found behind damage."""
PASSED, UNKNOWN, BAD, OFF_SCALE = range(4)
"""Counted kinds of records: passed over by its rule, of a type that is not read, not readable, finer than the scale."""


class DbnState(NamedTuple):
    """Arrays the kernel works on. ``slots`` is a hash table: instrument to its row in the other arrays."""

    keys: Any  # int64, instrument id of the source + 1, 0 where a slot is free; the length is a power of two
    slots: Any  # int32, row
    ids: Any  # int32, instrument id of the fleet, -1 where its symbol was none
    divisors: Any  # int64, from 1e-9 to the instrument's units
    tops: Any  # int64[n, 2, 3]: reference, price, quantity of the best bid and offer
    counters: Any  # int64[8]: counts, then the last reference given
    first: Any  # int64[4, 2]: position and sequence of the first record of each count since the last call
    types: Any  # int64[256], records by type
    least: Any  # LEAST_BYTES


REFERENCE: Final = 4
"""Place of the last reference in ``counters``."""


def new_state(instruments: int = 64) -> DbnState:
    """With room for so many instruments (a power of two)."""
    return DbnState(
        keys=np.zeros(4 * instruments, np.int64),
        slots=np.zeros(4 * instruments, np.int32),
        ids=np.full(instruments, -1, np.int32),
        divisors=np.ones(instruments, np.int64),
        tops=np.zeros((instruments, 2, 3), np.int64),
        counters=np.zeros(8, np.int64),
        first=np.zeros((4, 2), np.int64),
        types=np.zeros(256, np.int64),
        least=LEAST_BYTES,
    )


@part
def _u32(data: Any, at: Any) -> Any:
    return (
        np.uint64(data[at])
        | np.uint64(data[at + np.uint64(1)]) << np.uint64(8)
        | np.uint64(data[at + np.uint64(2)]) << np.uint64(16)
        | np.uint64(data[at + np.uint64(3)]) << np.uint64(24)
    )


@part
def _i64(data: Any, at: Any) -> Any:
    return np.int64(_u32(data, at) | _u32(data, at + np.uint64(4)) << np.uint64(32))


@part
def _home(key: int, size: int) -> Any:
    return np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)) & (size - 1)


@part
def _row_of(state: DbnState, instrument: int) -> Any:
    """The row of an instrument of the source, -1 where it was never named."""
    size = len(state.keys)
    slot = _home(instrument, size)
    while state.keys[slot] != 0:
        if state.keys[slot] == instrument + 1:
            return np.int64(state.slots[slot])
        slot = (slot + 1) & (size - 1)
    return np.int64(-1)


@kernel
def enter(state: DbnState, instrument: int, row: int) -> None:
    """Names an instrument of the source. There must be room."""
    size = len(state.keys)
    slot = _home(instrument, size)
    while state.keys[slot] != 0 and state.keys[slot] != instrument + 1:
        slot = (slot + 1) & (size - 1)
    state.keys[slot] = instrument + 1
    state.slots[slot] = row


@part
def _count(state: DbnState, what: int, position: int, sequence: int) -> None:
    if state.counters[what] == 0:
        state.first[what, 0] = position
        state.first[what, 1] = sequence
    state.counters[what] += 1


@part
def _write(rows: Any, row: int, stamp: int, sequence: int, reference: int, other: int, price: int, qty: int) -> None:
    rows[row, 0] = stamp
    rows[row, 1] = sequence
    rows[row, 2] = reference
    rows[row, 3] = other
    rows[row, 4] = price
    rows[row, 5] = qty


@part
def _traits(rows: Any, row: int, instrument: int, kind: int, side: int, flags: int) -> None:
    rows[row, 6] = np.int64(
        np.uint64(np.uint32(instrument))
        | np.uint64(kind) << np.uint64(32)
        | np.uint64(side) << np.uint64(40)
        | np.uint64(flags) << np.uint64(48)
    )


@part
def _level(state: DbnState, place: int, side: int, price: int, qty: int, head: Any, rows: Any, row: int) -> Any:
    """The best level of a side is so now: an add, a replace, a delete, or nothing new. Returns the next row."""
    stamp, sequence, instrument = head
    tops = state.tops
    letter = _SELL if side else _BUY
    held = tops[place, side, 0]
    if tops[place, side, 1] == price and tops[place, side, 2] == qty:
        return row
    reference = 0
    if qty == 0:
        _write(rows, row, stamp, sequence, held, 0, 0, 0)
        _traits(rows, row, instrument, _DELETE, 0, 0)
    else:
        state.counters[REFERENCE] += 1
        reference = state.counters[REFERENCE]
        if held == 0:
            _write(rows, row, stamp, sequence, reference, 0, price, qty)
            _traits(rows, row, instrument, _ADD, letter, 0)
        else:
            _write(rows, row, stamp, sequence, held, reference, price, qty)
            _traits(rows, row, instrument, _REPLACE, 0, 0)
    tops[place, side, 0], tops[place, side, 1], tops[place, side, 2] = reference, price, qty
    return row + 1


@part
def _print(price: int, size: int, side: int, head: Any, rows: Any, row: int) -> Any:
    """A trade. The source names the aggressor; a tick has the side of the order that rested."""
    stamp, sequence, instrument = head
    resting = _SELL if side == _B else (_BUY if side == _A else 0)
    _write(rows, row, stamp, sequence, 0, sequence, price, size)
    _traits(rows, row, instrument, _PRINT, resting, _PRINTABLE)
    return row + 1


@part
def _order(action: int, side: int, order: int, price: int, size: int, head: Any, rows: Any, row: int) -> Any:
    """A record of MBO that changes the book."""
    stamp, sequence, instrument = head
    if action == _A:
        _write(rows, row, stamp, sequence, order, 0, price, size)
        _traits(rows, row, instrument, _ADD, _BUY if side == _B else _SELL, 0)
    elif action == _C:
        _write(rows, row, stamp, sequence, order, 0, 0, size)
        _traits(rows, row, instrument, _CANCEL, 0, 0)
    elif action == _M:
        _write(rows, row, stamp, sequence, order, order, price, size)
        _traits(rows, row, instrument, _REPLACE, 0, 0)
    else:
        _write(rows, row, stamp, sequence, 0, 0, 0, 0)
        _traits(rows, row, instrument, _CLEAR, 0, 0)
    return row + 1


@part
def _top(
    place: int,
    side: int,
    price: int,
    size: int,
    divisor: int,
    head: Any,
    rows: Any,
    row: int,
    state: Any,
    position: int,
) -> Any:
    """A record of MBO that has the best price of a side."""
    units = _scaled(price, divisor)
    if units < 0:
        _count(state, OFF_SCALE, position, head[1])
        return row
    qty = np.int64(size) if units > 0 else np.int64(0)
    return _level(state, place, 0 if side == _B else 1, units if qty else np.int64(0), qty, head, rows, row)


@part
def _scaled(price: int, divisor: int) -> Any:
    """In units of the instrument; -1 where it has none, is negative or finer."""
    if price == _UNDEFINED:
        return np.int64(0)
    units = price // divisor
    return units if price >= 0 and units * divisor == price else np.int64(-1)


@part
def _mbo(
    data: Any, at: Any, place: int, divisor: int, head: Any, rows: Any, row: int, state: DbnState, position: int
) -> Any:
    action, side = data[at + np.uint64(38)], data[at + np.uint64(39)]
    raw = _i64(data, at + np.uint64(24))
    size = np.int64(_u32(data, at + np.uint64(32)))
    if action == _A and data[at + np.uint64(36)] & _TOP and side in (_B, _A):
        return _top(place, side, raw, size, divisor, head, rows, row, state, position)
    if action in (_F, _N):
        _count(state, PASSED, position, head[1])
        return row
    is_priced = action in (_A, _M, _T)
    is_known = is_priced or action in (_C, _R)
    sided = side in (_B, _A)
    if not is_known or (is_priced and (raw == _UNDEFINED or size == 0)) or (action == _A and not sided):
        _count(state, BAD, position, head[1])
        return row
    price = _scaled(raw, divisor)
    if is_priced and price < 0:
        _count(state, OFF_SCALE, position, head[1])
        return row
    if action == _T:
        return _print(price, size, side, head, rows, row)
    return _order(action, side, _i64(data, at + np.uint64(16)), price, size, head, rows, row)


@part
def _quote(
    data: Any, at: Any, place: int, divisor: int, head: Any, rows: Any, row: int, state: DbnState, position: int
) -> Any:
    """A trade, and for MBP-1 the best levels after the record."""
    action, side = data[at + np.uint64(28)], data[at + np.uint64(29)]
    if action == _T:
        raw, size = _i64(data, at + np.uint64(16)), np.int64(_u32(data, at + np.uint64(24)))
        price = _scaled(raw, divisor)
        if raw == _UNDEFINED or size == 0:
            _count(state, BAD, position, head[1])
        elif price < 0:
            _count(state, OFF_SCALE, position, head[1])
        else:
            row = _print(price, size, side, head, rows, row)
    if data[at + np.uint64(1)] == TRADE:
        if action != _T:
            _count(state, PASSED, position, head[1])
        return row
    bid, ask = _scaled(_i64(data, at + np.uint64(48)), divisor), _scaled(_i64(data, at + np.uint64(56)), divisor)
    bid_size = np.int64(_u32(data, at + np.uint64(64))) if bid > 0 else np.int64(0)
    ask_size = np.int64(_u32(data, at + np.uint64(68))) if ask > 0 else np.int64(0)
    if bid < 0 or ask < 0:
        _count(state, OFF_SCALE, position, head[1])
        return row
    before = row
    row = _level(state, place, 0, bid if bid_size else np.int64(0), bid_size, head, rows, row)
    row = _level(state, place, 1, ask if ask_size else np.int64(0), ask_size, head, rows, row)
    if row == before and action != _T:
        _count(state, PASSED, position, head[1])
    return row


@kernel
def decode_records(data: Any, position: int, sequence: int, rows: Any, state: DbnState) -> tuple[int, int, int, int]:
    """Decodes records from ``position`` into ``rows`` (int64, one line of 7 words per tick).

    ``sequence`` is that of the record there. Returns (position, sequence, rows written, why it came back); the record
    at the position is not decoded. A record that is not known is passed over by its length.
    """
    row = 0
    size = len(data)
    while True:
        if row + ROWS_PER_RECORD > len(rows):
            return position, sequence, row, FULL
        if position + HEADER_BYTES > size:
            return position, sequence, row, END
        at = np.uint64(position)
        length: Any = WORD * np.int64(data[at])
        kind = data[at + np.uint64(1)]
        if length < HEADER_BYTES or length < state.least[kind]:
            return position, sequence, row, DAMAGED
        if position + length > size:
            return position, sequence, row, END
        if kind in (DEFINITION, SYMBOL_MAPPING):
            return position, sequence, row, DEFINED
        is_mbo = kind == MBO
        if not is_mbo and kind != TRADE and kind not in LEVEL_TYPES:
            _count(state, UNKNOWN, position, sequence)
        else:
            place = _row_of(state, np.int64(_u32(data, at + np.uint64(4))))
            if place < 0:
                return position, sequence, row, NEW_INSTRUMENT
            flags = data[at + np.uint64(36 if is_mbo else 30)]
            received = at + np.uint64(40 if is_mbo else 32)
            stamp = _i64(data, received if flags & _SNAPSHOT else at + np.uint64(8))
            head = (stamp, sequence, np.int64(state.ids[place]))
            divisor = state.divisors[place]
            if head[2] < 0:
                _count(state, BAD, position, sequence)
            elif is_mbo:
                row = _mbo(data, at, place, divisor, head, rows, row, state, position)
            else:
                row = _quote(data, at, place, divisor, head, rows, row, state, position)
        state.types[kind] += 1
        sequence += 1
        position += length


@kernel
def find_record(data: Any, position: int, state: DbnState) -> int:
    """The first place behind ``position`` from which records of named instruments agree; the end of the data where
    there is none.
    """
    position += 1
    size = len(data)
    length: Any = 0
    while position < size:
        place, found = position, 0
        while found < AGREEING and place + HEADER_BYTES <= size:
            at = np.uint64(place)
            length = WORD * np.int64(data[at])
            if length < HEADER_BYTES or length < state.least[data[at + np.uint64(1)]] or place + length > size:
                break
            if _row_of(state, np.int64(_u32(data, at + np.uint64(4)))) < 0:
                break
            found += 1
            place += length
        if found == AGREEING or (found > 0 and place == size):
            return position
        position += 1
    return position


@kernel
def finest(data: Any, position: int, instrument: int) -> int:
    """Decimals, at most nine, that the prices of an instrument need in the ``PROBED`` records from ``position`` on."""
    divisor = 1_000_000_000
    decimals = 0
    length: Any = 0
    for _ in range(PROBED):
        at = np.uint64(position)
        if position + HEADER_BYTES > len(data):
            break
        length = WORD * np.int64(data[at])
        if length < HEADER_BYTES or position + length > len(data):
            break
        kind = data[at + np.uint64(1)]
        is_mbo = kind == MBO and length >= MBO_BYTES
        is_quote = (kind == TRADE and length >= TRADE_BYTES) or (kind in LEVEL_TYPES and length >= MBP1_BYTES)
        if (is_mbo or is_quote) and np.int64(_u32(data, at + np.uint64(4))) == instrument:
            price = _i64(data, at + np.uint64(24 if is_mbo else 16))
            while price != _UNDEFINED and price % divisor != 0:
                divisor //= 10
                decimals += 1
        position += length
    return decimals
