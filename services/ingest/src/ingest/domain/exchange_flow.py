"""Events of the synthetic exchange, in order: pre-open, opening cross, trading with halts, closing cross.

All arithmetic is on integers (one square root, which IEEE 754 rounds exactly): the same seed gives the same bytes.
"""

from enum import IntEnum
from typing import Any, Final

import numpy as np

from ingest.domain.exchange_books import (
    ASK,
    BID,
    SIDE_ORDERS,
    TRADES_KEPT,
    add_order,
    best_price,
    bits,
    break_trade,
    cancel_part,
    delete_order,
    draw,
    execute_front,
    execute_front_at,
    replace_order,
    write_action,
    write_collar,
    write_cross,
    write_imbalance,
    write_interest,
    write_system,
    write_trade,
)
from ingest.kernels import kernel


class Phase(IntEnum):
    PRE_OPEN = 0
    OPENING_IMBALANCE = 1
    OPENING_CROSS = 2
    TRADING = 3
    CLOSING_IMBALANCE = 4
    CLOSING_CROSS = 5
    END = 6
    OVER = 7


STEP_BYTES_MAX: Final = 1024
"""No single step writes more."""
_CROSS_GAP_NS: Final = 2_000
_SLICE_NS: Final = 50_000_000
_SLICES_MAX: Final = 400
_FP: Final = 16
_DEPTH_WANTED: Final = 48
_DEPTH_LEAST: Final = 3
_TRADING, _HALTED, _PAUSED, _QUOTING = (ord(letter) for letter in "THPQ")
_OPENING, _CLOSING, _HALT_CROSS = (ord(letter) for letter in "OCH")
_MARKET_OPEN, _MARKET_CLOSE, _SYSTEM_END, _MESSAGES_END = (ord(letter) for letter in "QMEC")
_REASON_NEWS, _REASON_LULD, _REASON_NONE, _REASON_QUOTE = (
    int.from_bytes(reason, "big") for reason in (b"T1  ", b"LUDP", b"    ", b"T3  ")
)
_RETAIL_FLAGS: Final = tuple(ord(letter) for letter in "BSAN")
_PRE, _IMBALANCE, _OPEN, _CONTINUOUS, _LATE_IMBALANCE, _CLOSE, _END, _OVER = (int(phase) for phase in Phase)


@kernel
def run(m: Any) -> None:
    """Writes messages until the buffer is nearly full or the day is over."""
    m.at = 0
    while m.at <= m.out_limit and m.phase != _OVER:
        phase = m.phase
        if phase == _PRE:
            _pre_open(m)
        elif phase == _CONTINUOUS:
            _trade(m)
        elif phase == _END:
            write_system(m, _MARKET_CLOSE)
            write_system(m, _SYSTEM_END)
            write_system(m, _MESSAGES_END)
            m.phase = _OVER
        else:
            _auction(m, phase)


@kernel
def _pre_open(m: Any) -> None:
    """Orders gather before the open; nothing trades."""
    m.clock_ns += _gap(m)
    if m.clock_ns >= m.open_ns - 1_000_000_000 or m.written >= m.messages_max // 4:
        m.phase = _IMBALANCE
        return
    symbol = _pick(m)
    word = draw(m)
    side = bits(word, 0, 1)
    if m.counts[symbol, side] < SIDE_ORDERS // 2:
        _add(m, symbol, side)
    else:
        delete_order(m, symbol, side, _any_order(m, symbol, side, word))


@kernel
def _auction(m: Any, phase: int) -> None:
    """One symbol of the opening or closing auction: its imbalance in one round, its cross in the next."""
    symbol = m.cursor
    if symbol == m.symbols:
        m.cursor = 0
        m.phase = phase + 1
        if phase == _IMBALANCE:
            m.clock_ns = max(m.clock_ns, m.open_ns)
            write_system(m, _MARKET_OPEN)
        return
    m.cursor += 1
    m.clock_ns += _CROSS_GAP_NS
    for side in range(2):
        while m.counts[symbol, side] < _DEPTH_LEAST:
            _add(m, symbol, side)
    word = draw(m)
    cross_type = _OPENING if phase <= _OPEN else _CLOSING
    if phase in (_IMBALANCE, _LATE_IMBALANCE):
        imbalance = (bits(word, 0, 8) - 128) * 100
        write_imbalance(m, symbol, _middle(m, symbol), bits(word, 8, 8) * 100, imbalance, cross_type)
    elif m.state[symbol] == _TRADING:
        _cross(m, symbol, cross_type, word)


@kernel
def _cross(m: Any, symbol: int, cross_type: int, word: Any) -> None:
    """A cross at the middle of the market. Displayed orders that take part trade by C, without a print of their own."""
    price = _middle(m, symbol)
    shares = bits(word, 20, 6) * 100
    if bits(word, 0, 3) == 0:
        execute_front_at(m, symbol, bits(word, 3, 1), 100, price, False)
        shares += 100
    write_cross(m, symbol, price if shares else 0, shares, cross_type)


@kernel
def _trade(m: Any) -> None:
    """One event of continuous trading."""
    m.clock_ns += _gap(m)
    if m.clock_ns >= m.close_ns or m.written >= m.messages_max:
        m.clock_ns = min(m.clock_ns, m.close_ns)
        m.phase = _LATE_IMBALANCE
        return
    symbol = _pick(m)
    _walk(m, symbol)
    rare = bits(draw(m), 0, 20)
    if m.state[symbol] != _TRADING:
        _halted(m, symbol)
    elif rare < m.halts:
        _halt(m, symbol)
    elif rare < m.halts + m.breaks:
        break_trade(m, bits(draw(m), 0, 10) % TRADES_KEPT)
    elif rare < m.halts + 2 * m.breaks:
        write_interest(m, symbol, _RETAIL_FLAGS[bits(draw(m), 0, 2)])
    else:
        _act(m, symbol, True)


@kernel
def _halt(m: Any, symbol: int) -> None:
    m.state_until_ns[symbol] = m.clock_ns + m.halt_ns
    if bits(draw(m), 0, 1):
        write_action(m, symbol, _PAUSED, _REASON_LULD)
        write_collar(m, symbol, m.fair_fp[symbol] >> _FP)
    else:
        write_action(m, symbol, _HALTED, _REASON_NEWS)


@kernel
def _halted(m: Any, symbol: int) -> None:
    """Orders come and go, nothing trades; then a quotation period; then a cross, and trading again."""
    if m.clock_ns < m.state_until_ns[symbol]:
        _act(m, symbol, False)
        return
    for side in range(2):
        while m.counts[symbol, side] < _DEPTH_LEAST:
            _add(m, symbol, side)
    word = draw(m)
    if m.state[symbol] != _QUOTING:
        write_action(m, symbol, _QUOTING, _REASON_QUOTE)
        write_imbalance(m, symbol, _middle(m, symbol), bits(word, 0, 8) * 100, 0, _HALT_CROSS)
        m.state_until_ns[symbol] = m.clock_ns + m.halt_ns // 4
    else:
        write_action(m, symbol, _TRADING, _REASON_NONE)
        _cross(m, symbol, _HALT_CROSS, word)


@kernel
def _act(m: Any, symbol: int, trading: bool) -> None:
    """One order message, chosen so that books keep their depth and prices follow the fair value."""
    bids, asks = m.counts[symbol, BID], m.counts[symbol, ASK]
    word = draw(m)
    thin = BID if bids < asks else ASK
    if min(bids, asks) < _DEPTH_LEAST:
        _add(m, symbol, thin)
        return
    if max(bids, asks) == SIDE_ORDERS:
        delete_order(m, symbol, 1 - thin, _any_order(m, symbol, 1 - thin, word))
        return
    fair = m.fair_fp[symbol] >> _FP
    choice = bits(word, 0, 12)
    if trading and choice < 3072 and (best_price(m, symbol, ASK) <= fair or best_price(m, symbol, BID) > fair):
        _take_liquidity(m, symbol, ASK if best_price(m, symbol, ASK) <= fair else BID, word)
        return
    side = bits(word, 12, 1)
    if choice < (2000 if bids + asks < _DEPTH_WANTED else 1200):
        _add(m, symbol, thin if bits(word, 13, 1) else side)
    elif choice < 2800:
        delete_order(m, symbol, side, _any_order(m, symbol, side, word))
    elif choice < 2950:
        place = bits(word, 14, 16) % m.counts[symbol, side]
        shares = int(m.shares[symbol, side, place])
        if shares > 1:
            cancel_part(m, symbol, side, place, 1 + bits(word, 30, 16) % (shares - 1))
        else:
            delete_order(m, symbol, side, place)
    elif choice < 3500 or not trading:
        place = bits(word, 14, 16) % m.counts[symbol, side]
        replace_order(m, symbol, side, place, _quote(m, symbol, side), _size(m))
    elif choice < 3880:
        _take_liquidity(m, symbol, side, word)
    elif choice < 3920:
        middle = _middle(m, symbol)
        execute_front_at(m, symbol, side, 100, middle, True)
    else:
        spread = best_price(m, symbol, ASK) - best_price(m, symbol, BID)
        write_trade(m, symbol, best_price(m, symbol, BID) + bits(word, 14, 16) % (spread + 1), _size(m))


@kernel
def _take_liquidity(m: Any, symbol: int, side: int, word: Any) -> None:
    """An incoming order trades with the front of a side, sometimes with several orders one after the other."""
    wanted = _size(m)
    for _ in range(1 + bits(word, 40, 2)):
        if wanted == 0 or m.counts[symbol, side] == 0:
            return
        wanted -= execute_front(m, symbol, side, wanted)


@kernel
def _add(m: Any, symbol: int, side: int) -> None:
    add_order(m, symbol, side, _quote(m, symbol, side), _size(m))


@kernel
def _quote(m: Any, symbol: int, side: int) -> Any:
    """A price some ticks from the fair value that does not cross the other side."""
    fair = m.fair_fp[symbol] >> _FP
    width = 1 + fair // 8192
    away = (m.exponential[bits(draw(m), 0, 8)] * 4 * width) >> _FP
    other = best_price(m, symbol, 1 - side)
    if side == BID:
        price = fair - away
        return max(1, price if other == 0 else min(price, other - 1))
    return max(fair + 1 + away, other + 1)


@kernel
def _size(m: Any) -> Any:
    """Shares: round lots, or an odd lot one time in eight."""
    word = draw(m)
    if bits(word, 0, 3) == 0:
        return 1 + bits(word, 3, 16) % 99
    return 100 * (1 + (m.exponential[bits(word, 3, 8)] * 2 >> _FP))


@kernel
def _any_order(m: Any, symbol: int, side: int, word: Any) -> Any:
    """The farther from the fair value of two orders drawn."""
    count = m.counts[symbol, side]
    first, second = bits(word, 14, 16) % count, bits(word, 30, 16) % count
    fair = m.fair_fp[symbol] >> _FP
    prices = m.prices[symbol, side]
    return first if abs(prices[first] - fair) >= abs(prices[second] - fair) else second


@kernel
def _middle(m: Any, symbol: int) -> Any:
    return (best_price(m, symbol, BID) + best_price(m, symbol, ASK)) // 2


@kernel
def _pick(m: Any) -> Any:
    """A symbol by its share of the flow (Walker's alias method)."""
    word = draw(m)
    column = np.int64((word >> np.uint64(32)) * np.uint64(m.symbols) >> np.uint64(32))
    return column if (word & np.uint64(0xFFFFFFFF)) < m.alias_limit[column] else int(m.alias[column])


@kernel
def _gap(m: Any) -> Any:
    """Time to the next event: exponential, in clusters, and shorter right after the open."""
    word = draw(m)
    mean_fp = m.gap_ns_fp * (16 if bits(word, 0, 8) < 51 else 1) // 4
    since = m.clock_ns - m.open_ns
    if 0 <= since < m.burst_ns:
        raised = m.burst_ns + (m.burst - 1) * (m.burst_ns - since)
        mean_fp = int(mean_fp * (m.burst_ns // 1_000_000) // (raised // 1_000_000))
    return (mean_fp * m.exponential[bits(word, 8, 8)]) >> 24


@kernel
def _walk(m: Any, symbol: int) -> None:
    """The fair value wanders with the time that passed, with a drift of its own, between half and twice the first."""
    slices = min((m.clock_ns - m.walked_ns[symbol]) // _SLICE_NS, _SLICES_MAX)
    if slices <= 0:
        return
    m.walked_ns[symbol] = m.clock_ns
    word = draw(m)
    normal = bits(word, 0, 8) + bits(word, 8, 8) + bits(word, 16, 8) + bits(word, 24, 8) - 510
    if bits(word, 32, 6) == 0:
        m.drift_fp[symbol] = m.volatility_fp[symbol] * (bits(word, 38, 8) - 128) // 4
    root = int(np.sqrt(np.float64(slices)))
    fair = m.fair_fp[symbol] + m.volatility_fp[symbol] * root * normal + m.drift_fp[symbol] * slices
    least, most = m.anchor[symbol] << (_FP - 1), m.anchor[symbol] << (_FP + 1)
    if fair < least or fair > most:
        m.drift_fp[symbol] = -m.drift_fp[symbol]
    m.fair_fp[symbol] = min(max(fair, least), most)
