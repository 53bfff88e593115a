"""Measures that are shipped: the setting ``measures`` names those that are computed of every window beside the bars.

All tallies are integers, so that a window merged from shorter ones, restated or restored says the same.
"""

import math
from typing import Any, Final

from common.measures import Measure

from signals.domain.volume_profile import VOLUME_PROFILE
from signals.kernels import part

_US: Final = 1_000
_PPM: Final = 1_000_000
_RETURN_UNITS: Final = 100_000_000
"""Logarithmic returns are rounded to 1e-8: squares of 1 % each fit 9 million times."""


def add_twap(tally: Any, trade: Any) -> None:
    if tally.trades == 0:
        tally.first_ns = trade.event_ns
        tally.first_e4 = trade.price_e4
    else:
        tally.area += (tally.last_e4 - tally.first_e4) * (trade.event_ns // _US - tally.last_ns // _US)
    tally.last_ns = trade.event_ns
    tally.last_e4 = trade.price_e4
    tally.trades += 1


def merge_twap(tally: Any, later: Any) -> None:
    tally.area += (tally.last_e4 - tally.first_e4) * (later.first_ns // _US - tally.last_ns // _US)
    tally.area += later.area + (later.first_e4 - tally.first_e4) * (later.last_ns // _US - later.first_ns // _US)
    tally.last_ns = later.last_ns
    tally.last_e4 = later.last_e4
    tally.trades += later.trades


def result_twap(tally: Any, window: Any) -> int:
    end_us = (window.window_start_ns + window.window_ns) // _US
    span_us = end_us - tally.first_ns // _US
    if span_us <= 0:
        return int(tally.last_e4)
    area = tally.area + (tally.last_e4 - tally.first_e4) * (end_us - tally.last_ns // _US)
    return int(tally.first_e4 + area // span_us)


TWAP: Final = Measure(
    "twap",
    tally={
        "trades": "<i8",
        "first_ns": "<i8",
        "last_ns": "<i8",
        "first_e4": "<i8",
        "last_e4": "<i8",
        "area": "<i8",  # price above ``first_e4``, times microseconds, from the first trade to the last
    },
    add=add_twap,
    merge=merge_twap,
    result=result_twap,
    results=("twap_e4",),
)
"""Average of the price over the time from the first trade to the window's end, floored to 1e-4: a price holds until the
next trade, through silent gaps too. Within 64 bits, prices of a window of a day may differ by 10,000, of less by more.
"""


def add_prices(tally: Any, trade: Any) -> None:
    if tally.trades == 0:
        tally.base_e4 = trade.price_e4
        tally.high_e4 = trade.price_e4
        tally.low_e4 = trade.price_e4
    above = trade.price_e4 - tally.base_e4
    tally.sum += above
    tally.squares += above * above
    tally.high_e4 = max(tally.high_e4, trade.price_e4)
    tally.low_e4 = min(tally.low_e4, trade.price_e4)
    tally.trades += 1


def merge_prices(tally: Any, later: Any) -> None:
    shift = later.base_e4 - tally.base_e4
    tally.squares += later.squares + 2 * shift * later.sum + later.trades * shift * shift
    tally.sum += later.sum + later.trades * shift
    tally.high_e4 = max(tally.high_e4, later.high_e4)
    tally.low_e4 = min(tally.low_e4, later.low_e4)
    tally.trades += later.trades


def result_prices(tally: Any) -> tuple[int, int, int]:
    mean_e4 = tally.base_e4 + tally.sum // tally.trades
    above = tally.sum / tally.trades
    variance = max(0.0, tally.squares / tally.trades - above * above)
    spread_ppm = (tally.high_e4 - tally.low_e4) * _PPM // mean_e4 if mean_e4 > 0 else 0
    return mean_e4, int(math.sqrt(variance)), spread_ppm


PRICES: Final = Measure(
    "prices",
    tally={
        "trades": "<i8",
        "base_e4": "<i8",  # price of the first trade
        "sum": "<i8",  # of the prices above ``base_e4``
        "squares": "<i8",
        "high_e4": "<i8",
        "low_e4": "<i8",
    },
    add=add_prices,
    merge=merge_prices,
    result=result_prices,
    results=("mean_e4", "stdev_e4", "range_ppm"),
)
"""Mean of the trades' prices (over a sliding window: the moving average), their population standard deviation, and
(highest - lowest) / mean in parts per million; all floored.
"""


@part
def _squared_return(before_e4: Any, price_e4: Any) -> Any:
    if before_e4 <= 0 or price_e4 <= 0:
        return 0
    units = round(math.log(price_e4 / before_e4) * _RETURN_UNITS)
    return units * units


def add_returns(tally: Any, trade: Any) -> None:
    if tally.trades == 0:
        tally.first_e4 = trade.price_e4
    else:
        tally.squares += _squared_return(tally.last_e4, trade.price_e4)
    tally.last_e4 = trade.price_e4
    tally.trades += 1


def merge_returns(tally: Any, later: Any) -> None:
    tally.squares += _squared_return(tally.last_e4, later.first_e4) + later.squares
    tally.last_e4 = later.last_e4
    tally.trades += later.trades


def result_returns(tally: Any) -> int:
    return int(math.sqrt(tally.squares) * _PPM / _RETURN_UNITS)


REALISED_VOLATILITY: Final = Measure(
    "realised_volatility",
    tally={"trades": "<i8", "first_e4": "<i8", "last_e4": "<i8", "squares": "<i8"},
    add=add_returns,
    merge=merge_returns,
    result=result_returns,
    results=("realised_volatility_ppm",),
)
"""Root of the sum of squared logarithmic returns from trade to trade (Andersen and Bollerslev 1998), not annualised."""


def add_flow(tally: Any, trade: Any) -> None:
    if trade.aggressor > 0:
        tally.bought += trade.qty
    elif trade.aggressor < 0:
        tally.sold += trade.qty


def merge_flow(tally: Any, later: Any) -> None:
    tally.bought += later.bought
    tally.sold += later.sold


def result_flow(tally: Any) -> tuple[int, int, int]:
    both = tally.bought + tally.sold
    imbalance = (tally.bought - tally.sold) * _PPM // both if both > 0 else 0
    return tally.bought, tally.sold, imbalance


TRADE_FLOW: Final = Measure(
    "trade_flow",
    tally={"bought": "<i8", "sold": "<i8"},
    add=add_flow,
    merge=merge_flow,
    result=result_flow,
    results=("bought", "sold", "flow_imbalance_ppm"),
    any_order=True,
)
"""Shares that buyers took from resting offers, sellers from resting bids, and (bought - sold) / both, floored. Trades
of which the aggressor is not known (crosses, hidden orders) are in neither.
"""

SHIPPED: Final = {measure.name: measure for measure in (TWAP, PRICES, REALISED_VOLATILITY, TRADE_FLOW, VOLUME_PROFILE)}
