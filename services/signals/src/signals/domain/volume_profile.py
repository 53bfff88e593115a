"""Volume by price, as a measure of trades: where most was traded, and the range that holds seven tenths of it.

Prices are counted in bins of a cent, or of 2, 4, 8 … cents where a window's prices span more than ``BINS`` of them. The
width is the least that holds the lowest and the highest price, and bins begin at multiples of it. So the bins of a
window depend on its trades alone, not on their order, and merging windows gives what adding their trades gives.
"""

from typing import Any, Final

from common.measures import Measure

from signals.domain.ohlcv import SUM_MAX
from signals.kernels import outlined, part

BINS: Final = 64
BIN_E4: Final = 100
"""Width of the narrowest bins."""


@outlined
def _widen(tally: Any, low: Any, high: Any) -> None:
    """Makes room for prices from ``low`` to ``high``, in cents, beside those of the tally."""
    while (high >> tally.shift) - (low >> tally.shift) >= BINS:
        for i in range(BINS):
            volume = tally.volumes[i]
            tally.volumes[i] = 0
            tally.volumes[((tally.first + i) >> 1) - (tally.first >> 1)] += volume
        tally.first >>= 1
        tally.shift += 1
    move = tally.first - (low >> tally.shift)
    if move > 0:
        for i in range(BINS - 1, -1, -1):
            tally.volumes[i] = tally.volumes[i - move] if i >= move else 0
        tally.first -= move


@part
def _put(tally: Any, place: Any, volume: Any) -> None:
    held = tally.volumes[place]
    tally.volumes[place] = held + volume if held <= SUM_MAX - volume else SUM_MAX


def add(tally: Any, trade: Any) -> None:
    cents = trade.price_e4 // BIN_E4
    if tally.trades == 0:
        tally.first = cents
        tally.low = cents
        tally.high = cents
    elif cents < tally.low or cents > tally.high:
        tally.low = min(tally.low, cents)
        tally.high = max(tally.high, cents)
        _widen(tally, tally.low, tally.high)
    tally.trades += 1
    _put(tally, (cents >> tally.shift) - tally.first, trade.qty)


def merge(tally: Any, later: Any) -> None:
    tally.low = min(tally.low, later.low)
    tally.high = max(tally.high, later.high)
    _widen(tally, tally.low, tally.high)
    tally.trades += later.trades
    for i in range(BINS):
        if later.volumes[i]:
            place = ((later.first + i) >> (tally.shift - later.shift)) - tally.first
            _put(tally, place, later.volumes[i])


@outlined
def _peak_and_area(tally: Any) -> Any:
    """The bin with most shares, and the first and the last one of the range around it."""
    most = 0
    total = 0.0
    for i in range(BINS):
        total += tally.volumes[i]
        if tally.volumes[i] > tally.volumes[most]:
            most = i
    low = high = most
    inside = float(tally.volumes[most])
    while 10.0 * inside < 7.0 * total:
        below = tally.volumes[low - 1] if low > 0 else -1
        above = tally.volumes[high + 1] if high < BINS - 1 else -1
        if above >= below:
            high += 1
            inside += above
        else:
            low -= 1
            inside += below
    return most, low, high


def result(tally: Any) -> tuple[int, int, int, int]:
    most, low, high = _peak_and_area(tally)
    width_e4 = BIN_E4 << tally.shift
    first_e4 = tally.first * width_e4
    return first_e4 + most * width_e4, first_e4 + low * width_e4, first_e4 + (high + 1) * width_e4, width_e4


VOLUME_PROFILE: Final = Measure(
    "volume_profile",
    tally={
        "trades": "<i8",
        "low": "<i8",  # lowest and highest price, in cents
        "high": "<i8",
        "shift": "<i8",  # bins are of 2^shift cents
        "first": "<i8",  # the first bin begins at so many widths
        "volumes": f"({BINS},)<i8",
    },
    add=add,
    merge=merge,
    result=result,
    results=("volume_peak_e4", "value_low_e4", "value_high_e4", "volume_bin_e4"),
    any_order=True,
)
"""Lower edge of the bin with most shares (the lowest of equals), the range around it that holds 70 % of them, from the
lower edge of its first bin to the upper edge of its last, and the width of a bin. The range grows by the greater of its
two neighbours, of equals by the upper one.
"""
