"""The bare work, compiled: a tick is added to its symbol's second, and what is over is written."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from common.contracts.ticks import TickKind
from common.kernels import compiler, part, write_piece
from risk.domain.text_kernel import write_integer

from bench.signals.market import JUMP_SHARE, SECOND_NS, SECTORS

kernel: Final = compiler(Path(__file__).parent)
OPEN: Final = np.dtype(
    [
        ("notional_e4", "<i8"),
        ("volume", "<i8"),
        ("jumped_e4", "<i8"),
        ("trades", "<i4"),
        ("jumps", "<i4"),
        ("instrument_id", "<i4"),
        ("sector", "<i4"),
    ]
)
"""A second that is not over."""
TRADE: Final = np.dtype([("event_ns", "<i8"), ("price_e4", "<i8"), ("qty", "<i8"), ("instrument_id", "<i8")])
"""An event that did not come in a frame, as far as the work needs it; ``qty`` 0: it is no trade."""
ROW_CHARS: Final = 256
"""Most characters of a bar and its alert."""
_MS: Final = 1_000_000
_TRADE: Final = int(TickKind.TRADE)
_SECTOR_CHARS: Final = max(map(len, SECTORS))
_SECTORS: Final = np.array([[*name.encode().ljust(_SECTOR_CHARS)] for name in SECTORS], np.uint8)
_SECTOR_SIZES: Final = np.array([*map(len, SECTORS)], np.int64)


def _text(text: str) -> Any:
    return np.frombuffer(text.encode(), np.uint8)


_BAR, _SECTOR, _VWAP, _NOTIONAL, _VOLUME, _TRADES = (
    _text(piece) for piece in ('{"bar":', ',"sector":"', '","vwap_e4":', ',"notional_e4":', ',"volume":', ',"trades":')
)
_ALERT, _JUMPS, _PRICE = (_text(piece) for piece in ('{"alert":', ',"jumps":', ',"price_e4":'))
_CLOSE: Final = ord("}")


@part
def _add(bar, price_e4, qty):  # type: ignore[no-untyped-def]
    if bar.volume > 0 and abs(price_e4 * bar.volume - bar.notional_e4) * JUMP_SHARE > bar.notional_e4:
        bar.jumps += 1
        bar.jumped_e4 = price_e4
    bar.notional_e4 += price_e4 * qty
    bar.volume += qty
    bar.trades += 1


@part
def _write(second, open_, out, ends, of_rows):  # type: ignore[no-untyped-def]
    """Writes the bars of a second and their alerts, and empties them. Returns how many rows there are."""
    at = rows = 0
    begin_ms = second * (SECOND_NS // _MS)
    for number in range(open_.size):
        bar = open_[number]
        if bar.trades == 0:
            continue
        at = write_piece(out, at, _BAR, 0, _BAR.size)
        at = write_integer(out, at, begin_ms)
        at = write_piece(out, at, _SECTOR, 0, _SECTOR.size)
        at = write_piece(out, at, _SECTORS[bar.sector], 0, _SECTOR_SIZES[bar.sector])
        at = write_piece(out, at, _VWAP, 0, _VWAP.size)
        at = write_integer(out, at, bar.notional_e4 // bar.volume)
        at = write_piece(out, at, _NOTIONAL, 0, _NOTIONAL.size)
        at = write_integer(out, at, bar.notional_e4)
        at = write_piece(out, at, _VOLUME, 0, _VOLUME.size)
        at = write_integer(out, at, bar.volume)
        at = write_piece(out, at, _TRADES, 0, _TRADES.size)
        at = write_integer(out, at, np.int64(bar.trades))
        out[at] = _CLOSE
        at += 1
        of_rows[rows], ends[rows] = number, at
        rows += 1
        if bar.jumps > 0:
            at = write_piece(out, at, _ALERT, 0, _ALERT.size)
            at = write_integer(out, at, begin_ms)
            at = write_piece(out, at, _JUMPS, 0, _JUMPS.size)
            at = write_integer(out, at, np.int64(bar.jumps))
            at = write_piece(out, at, _PRICE, 0, _PRICE.size)
            at = write_integer(out, at, bar.jumped_e4)
            out[at] = _CLOSE
            at += 1
            of_rows[rows], ends[rows] = number, at
            rows += 1
        bar.notional_e4 = bar.volume = bar.jumped_e4 = 0
        bar.trades = bar.jumps = 0
    return rows


@part
def _slot(text, begin, size, slots):  # type: ignore[no-untyped-def]
    """FNV-1a."""
    value = np.uint64(14_695_981_039_346_656_037)
    for place in range(size):
        value = (value ^ np.uint64(text[begin + place])) * np.uint64(1_099_511_628_211)
    return np.int64(value & np.uint64(slots - 1))


@kernel
def add_ticks(ticks, second, open_, sector_of, first, out, ends, of_rows):  # type: ignore[no-untyped-def]
    """Adds ticks from ``first`` on until a second is over, and then writes its rows.

    Returns how many ticks were taken, how many rows were written, and the second that is open now.
    """
    for k in range(first, ticks.size):
        tick = ticks[k]
        at = tick.event_ns // SECOND_NS
        if at > second:
            if second > 0:
                return k, _write(second, open_, out, ends, of_rows), at
            second = at
        bar = open_[tick.instrument_id]
        bar.sector = sector_of[tick.instrument_id]
        if tick.kind == _TRADE and at == second:
            _add(bar, tick.price_e4, tick.qty)
    return ticks.size, 0, second


@kernel
def add_trades(trades, second, open_, sector_of, first, out, ends, of_rows):  # type: ignore[no-untyped-def]
    """The same for events of which the fields of TRADE are known."""
    for k in range(first, trades.size):
        trade = trades[k]
        at = trade.event_ns // SECOND_NS
        if at > second:
            if second > 0:
                return k, _write(second, open_, out, ends, of_rows), at
            second = at
        bar = open_[trade.instrument_id]
        bar.sector = sector_of[trade.instrument_id]
        if trade.qty > 0 and at == second:
            _add(bar, trade.price_e4, trade.qty)
    return trades.size, 0, second


@kernel
def find_symbols(text, begins, ends, slots, names, found):  # type: ignore[no-untyped-def]
    """The number of each symbol; -1 of one that there is not."""
    for k in range(begins.size):
        begin, size = begins[k], ends[k] - begins[k]
        at = _slot(text, begin, size, slots.size)
        found[k] = -1
        while slots[at] >= 0 and found[k] < 0:
            name = names[slots[at]]
            same = size <= name.size and (size == name.size or name[size] == 0)
            for place in range(size if same else 0):
                same = same and name[place] == text[begin + place]
            if same:
                found[k] = slots[at]
            at = (at + 1) % slots.size


@kernel
def place_symbols(names, sizes, slots):  # type: ignore[no-untyped-def]
    """Fills the table by which symbols are found. ``slots``: int64, a power of two, each -1."""
    for number in range(sizes.size):
        at = _slot(names[number], 0, sizes[number], slots.size)
        while slots[at] >= 0:
            at = (at + 1) % slots.size
        slots[at] = number
