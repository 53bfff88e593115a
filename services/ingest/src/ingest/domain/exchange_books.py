"""The synthetic exchange's state, its books, and the ITCH messages it writes. Kernels of ``exchange.py``.

Each symbol has at most ``SIDE_ORDERS`` resting orders a side, in no order: finding the best price is one pass over a
cache line or two. References grow, so the oldest order at a price is the one with the smallest reference.
"""

from typing import Any, Final

import numpy as np
from common.contracts.ticks import TickKind

from ingest.domain.itch_spec import LENGTHS
from ingest.kernels import inlined, kernel

SIDE_ORDERS: Final = 32
TICK_E4: Final = 100
BID, ASK = 0, 1
TRADES_KEPT: Final = 1024
SYMBOLS_MAX: Final = 8_000
OUT_BYTES: Final = 1 << 20

_GAMMA: Final = 0x9E3779B97F4A7C15
_MIX_1: Final = 0xBF58476D1CE4E5B9
_MIX_2: Final = 0x94D049BB133111EB


def _frame(kind: TickKind) -> tuple[int, int]:
    return int(kind), int(LENGTHS[kind])


_S, _H, _A, _F, _E, _C = (_frame(TickKind(ord(code))) for code in "SHAFEC")
_X, _D, _U, _P, _Q, _B, _I, _J, _N = (_frame(TickKind(ord(code))) for code in "XDUPQBIJN")
_MPID: Final = int.from_bytes(b"TIDE", "big")
_SIDE_LETTERS: Final = (ord("B"), ord("S"))


MARKET: Final = np.dtype(
    [
        ("rng", "u8"),
        ("clock_ns", "i8"),  # since midnight, as all times here
        ("phase", "i8"),
        ("cursor", "i8"),  # symbol that an auction has come to
        ("at", "i8"),  # bytes of ``out`` written
        ("written", "i8"),  # messages since the start
        ("last_ref", "i8"),
        ("last_match", "i8"),
        ("trade_at", "i8"),
        ("symbols", "i8"),
        # Parameters; rates are per 2**20 events.
        ("out_limit", "i8"),
        ("open_ns", "i8"),
        ("close_ns", "i8"),
        ("gap_ns_fp", "i8"),  # mean time between events, in 1/256 ns
        ("burst", "i8"),  # how many times the rate is raised at the open
        ("burst_ns", "i8"),  # the time over which that falls to once
        ("messages_max", "i8"),
        ("halts", "i8"),
        ("breaks", "i8"),
        ("halt_ns", "i8"),
        # Per symbol. Prices are in ticks; ``_fp`` is in 1/65536 tick.
        ("fair_fp", "i8", (SYMBOLS_MAX,)),  # where the price is drawn to
        ("anchor", "i8", (SYMBOLS_MAX,)),  # the first price
        ("volatility_fp", "i8", (SYMBOLS_MAX,)),
        ("drift_fp", "i8", (SYMBOLS_MAX,)),
        ("walked_ns", "i8", (SYMBOLS_MAX,)),
        ("state_until_ns", "i8", (SYMBOLS_MAX,)),
        ("state", "i8", (SYMBOLS_MAX,)),  # trading state letter
        ("alias_limit", "u8", (SYMBOLS_MAX,)),  # see exchange.alias_table
        ("alias", "i8", (SYMBOLS_MAX,)),
        ("stocks", "u1", (SYMBOLS_MAX, 8)),
        ("counts", "i8", (SYMBOLS_MAX, 2)),
        ("prices", "i4", (SYMBOLS_MAX, 2, SIDE_ORDERS)),
        ("shares", "i4", (SYMBOLS_MAX, 2, SIDE_ORDERS)),
        ("refs", "i8", (SYMBOLS_MAX, 2, SIDE_ORDERS)),
        # Trades that can still be broken: match number, 0 where none, and symbol.
        ("trade_match", "i8", (TRADES_KEPT,)),
        ("trade_symbol", "i8", (TRADES_KEPT,)),
        ("exponential", "i8", (256,)),  # quantiles of the exponential distribution with mean 65536
        ("out", "u1", (OUT_BYTES,)),
    ],
    align=True,
)
"""All state in one record: kernels get it as one pointer, and change it in place."""


@kernel
def draw(m: Any) -> Any:
    """The next 64 random bits: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), the same on every machine."""
    m.rng += np.uint64(_GAMMA)
    z = m.rng
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_MIX_1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_MIX_2)
    return z ^ (z >> np.uint64(31))


@inlined
def bits(word: Any, shift: int, count: int) -> Any:
    """``count`` bits of a random word as a signed integer."""
    return np.int64((word >> np.uint64(shift)) & np.uint64((1 << count) - 1))


# --- books --------------------------------------------------------------------------------------------------------


@kernel
def best_price(m: Any, symbol: int, side: int) -> int:
    """Best price of a side in ticks; 0 where it is empty."""
    count = m.counts[symbol, side]
    if count == 0:
        return 0
    prices = m.prices[symbol, side]
    best = prices[0]
    for i in range(1, count):
        best = max(best, prices[i]) if side == BID else min(best, prices[i])
    return int(best)


@kernel
def front_order(m: Any, symbol: int, side: int) -> int:
    """Place of the order that trades next: the oldest at the best price. The side must not be empty."""
    best = best_price(m, symbol, side)
    found = -1
    for i in range(m.counts[symbol, side]):
        if m.prices[symbol, side, i] == best and (found < 0 or m.refs[symbol, side, i] < m.refs[symbol, side, found]):
            found = i
    return found


@kernel
def remove_order(m: Any, symbol: int, side: int, place: int) -> None:
    """Takes an order out; the last one moves into its place."""
    last = m.counts[symbol, side] - 1
    m.prices[symbol, side, place] = m.prices[symbol, side, last]
    m.shares[symbol, side, place] = m.shares[symbol, side, last]
    m.refs[symbol, side, place] = m.refs[symbol, side, last]
    m.counts[symbol, side] = last


@kernel
def next_ref(m: Any) -> Any:
    """A new order reference: growing, with holes, as a day's are."""
    m.last_ref += 1 + bits(draw(m), 0, 3)
    return m.last_ref


@kernel
def next_match(m: Any, symbol: int, breakable: bool) -> Any:
    """A new match number. A breakable trade is remembered, so that it can be broken later."""
    m.last_match += 1
    match = m.last_match
    if breakable:
        at = m.trade_at
        m.trade_match[at] = match
        m.trade_symbol[at] = symbol
        m.trade_at = (at + 1) % TRADES_KEPT
    return match


# --- writing ------------------------------------------------------------------------------------------------------


@kernel
def _put(m: Any, value: Any, width: int) -> None:
    """A big-endian unsigned integer of ``width`` bytes."""
    at = m.at
    for i in range(width):
        m.out[at + i] = np.uint8((np.uint64(value) >> np.uint64(8 * (width - 1 - i))) & np.uint64(0xFF))
    m.at = at + width


@kernel
def _put_stock(m: Any, symbol: int) -> None:
    at = m.at
    for i in range(8):
        m.out[at + i] = m.stocks[symbol, i]
    m.at = at + 8


@kernel
def _begin(m: Any, frame: tuple[int, int], locate: int) -> None:
    """Length prefix and message header."""
    _put(m, frame[1], 2)
    _put(m, frame[0], 1)
    _put(m, locate, 2)
    _put(m, 0, 2)
    _put(m, m.clock_ns, 6)
    m.written += 1


@kernel
def write_system(m: Any, event: int) -> None:
    _begin(m, _S, 0)
    _put(m, event, 1)


@kernel
def write_action(m: Any, symbol: int, state: int, reason: int) -> None:
    """Trading action; the symbol is in ``state`` from now on."""
    _begin(m, _H, symbol + 1)
    _put_stock(m, symbol)
    _put(m, state, 1)
    _put(m, 32, 1)
    _put(m, reason, 4)
    m.state[symbol] = state


@kernel
def write_collar(m: Any, symbol: int, price: int) -> None:
    """LULD auction collar of 5 % around ``price``."""
    _begin(m, _J, symbol + 1)
    _put_stock(m, symbol)
    _put(m, price * TICK_E4, 4)
    _put(m, (price + price // 20) * TICK_E4, 4)
    _put(m, (price - price // 20) * TICK_E4, 4)
    _put(m, 0, 4)


@kernel
def add_order(m: Any, symbol: int, side: int, price: int, shares: int) -> None:
    """A new resting order: A, or F for one in sixteen. There must be room on the side."""
    ref = next_ref(m)
    place = m.counts[symbol, side]
    m.prices[symbol, side, place] = price
    m.shares[symbol, side, place] = shares
    m.refs[symbol, side, place] = ref
    m.counts[symbol, side] = place + 1
    named = ref % 16 == 0
    _begin(m, _F if named else _A, symbol + 1)
    _put(m, ref, 8)
    _put(m, _SIDE_LETTERS[side], 1)
    _put(m, shares, 4)
    _put_stock(m, symbol)
    _put(m, price * TICK_E4, 4)
    if named:
        _put(m, _MPID, 4)


@kernel
def execute_front(m: Any, symbol: int, side: int, wanted: int) -> int:
    """E: trades up to ``wanted`` shares of the order in front, at its price. Returns the shares traded."""
    place = front_order(m, symbol, side)
    shares = min(wanted, int(m.shares[symbol, side, place]))
    _begin(m, _E, symbol + 1)
    _put(m, m.refs[symbol, side, place], 8)
    _put(m, shares, 4)
    _put(m, next_match(m, symbol, True), 8)
    _take(m, symbol, side, place, shares)
    return shares


@kernel
def execute_front_at(m: Any, symbol: int, side: int, wanted: int, price: int, printable: bool) -> None:
    """C: as E, at another price than the order shows; not printable where a cross trade carries the print."""
    place = front_order(m, symbol, side)
    shares = min(wanted, int(m.shares[symbol, side, place]))
    _begin(m, _C, symbol + 1)
    _put(m, m.refs[symbol, side, place], 8)
    _put(m, shares, 4)
    _put(m, next_match(m, symbol, printable), 8)
    _put(m, 89 if printable else 78, 1)
    _put(m, price * TICK_E4, 4)
    _take(m, symbol, side, place, shares)


@kernel
def _take(m: Any, symbol: int, side: int, place: int, shares: int) -> None:
    m.shares[symbol, side, place] -= shares
    if m.shares[symbol, side, place] == 0:
        remove_order(m, symbol, side, place)


@kernel
def cancel_part(m: Any, symbol: int, side: int, place: int, shares: int) -> None:
    """X: fewer than all shares of an order are cancelled."""
    _begin(m, _X, symbol + 1)
    _put(m, m.refs[symbol, side, place], 8)
    _put(m, shares, 4)
    m.shares[symbol, side, place] -= shares


@kernel
def delete_order(m: Any, symbol: int, side: int, place: int) -> None:
    """D."""
    _begin(m, _D, symbol + 1)
    _put(m, m.refs[symbol, side, place], 8)
    remove_order(m, symbol, side, place)


@kernel
def replace_order(m: Any, symbol: int, side: int, place: int, price: int, shares: int) -> None:
    """U: same side, new reference, and so the last in time at its price."""
    _begin(m, _U, symbol + 1)
    _put(m, m.refs[symbol, side, place], 8)
    ref = next_ref(m)
    _put(m, ref, 8)
    _put(m, shares, 4)
    _put(m, price * TICK_E4, 4)
    m.refs[symbol, side, place] = ref
    m.prices[symbol, side, place] = price
    m.shares[symbol, side, place] = shares


@kernel
def write_trade(m: Any, symbol: int, price: int, shares: int) -> None:
    """P: a trade against an order that is not displayed. The specification fixes reference 0 and side B."""
    _begin(m, _P, symbol + 1)
    _put(m, 0, 8)
    _put(m, _SIDE_LETTERS[BID], 1)
    _put(m, shares, 4)
    _put_stock(m, symbol)
    _put(m, price * TICK_E4, 4)
    _put(m, next_match(m, symbol, True), 8)


@kernel
def write_cross(m: Any, symbol: int, price: int, shares: int, cross_type: int) -> None:
    """Q; with no shares where nothing crossed."""
    _begin(m, _Q, symbol + 1)
    _put(m, shares, 8)
    _put_stock(m, symbol)
    _put(m, price * TICK_E4, 4)
    _put(m, next_match(m, symbol, False), 8)
    _put(m, cross_type, 1)


@kernel
def write_imbalance(m: Any, symbol: int, price: int, paired: int, imbalance: int, cross_type: int) -> None:
    """I; a negative imbalance is to sell."""
    _begin(m, _I, symbol + 1)
    _put(m, paired, 8)
    _put(m, abs(imbalance), 8)
    _put(m, 66 if imbalance > 0 else 83 if imbalance < 0 else 78, 1)
    _put_stock(m, symbol)
    _put(m, (price + 1) * TICK_E4, 4)
    _put(m, price * TICK_E4, 4)
    _put(m, price * TICK_E4, 4)
    _put(m, cross_type, 1)
    _put(m, 76, 1)


@kernel
def write_interest(m: Any, symbol: int, flag: int) -> None:
    """N: retail interest on the buy side, the sell side, both, or none."""
    _begin(m, _N, symbol + 1)
    _put_stock(m, symbol)
    _put(m, flag, 1)


@kernel
def break_trade(m: Any, at: int) -> None:
    """B, once per trade remembered."""
    match = m.trade_match[at]
    if match:
        _begin(m, _B, m.trade_symbol[at] + 1)
        _put(m, match, 8)
        m.trade_match[at] = 0
