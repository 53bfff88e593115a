"""Measures of quotes that are shipped: they follow each change of a best price or size, and weigh by time.

All numbers are integers, floored: prices in 1e-4, shares, parts per million. A side of the book that is empty has the
price and the size 0. Where an average is over time, it is over the time in which both sides stood; 0 where none did.
"""

from typing import Any, Final

from common.measures import Measure, Source

from signals.kernels import part

_US: Final = 1_000
_PPM: Final = 1_000_000
_EXACT_MAX: Final = 1 << 31
"""Sizes below this weigh as they are; greater ones are halved together until they are."""
_NO_OFFER: Final = (1 << 63) - 1
"""Price at which an empty side offers."""


@part
def microprice_e4(bid_e4: Any, bid_size: Any, ask_e4: Any, ask_size: Any) -> Any:
    """The middle weighted by the other side's size (Stoikov, "The micro-price", 2018, first term): near the bid where
    few shares bid, near the offer where few are offered. Both sides are there.
    """
    while bid_size + ask_size >= _EXACT_MAX:
        bid_size, ask_size = (bid_size + 1) >> 1, (ask_size + 1) >> 1
    return bid_e4 + (ask_e4 - bid_e4) * bid_size // (bid_size + ask_size)


@part
def imbalance_ppm(bid_size: Any, ask_size: Any) -> Any:
    """(bid - ask) / (bid + ask) of shares that are not all zero."""
    while bid_size + ask_size >= _EXACT_MAX:
        bid_size, ask_size = (bid_size + 1) >> 1, (ask_size + 1) >> 1
    return (bid_size - ask_size) * _PPM // (bid_size + ask_size)


@part
def flow_of(span: Any) -> Any:
    """Flow of orders that a change of quotes tells of (Cont, Kukanov, Stoikov, "The price impact of order book
    events", 2014, equation 4), in shares: what came to the bid or left the offer, less what left the bid or came to it.
    """
    flow = 0
    if span.bid_e4 >= span.before_bid_e4:
        flow += span.bid_size
    if span.bid_e4 <= span.before_bid_e4:
        flow -= span.before_bid_size
    ask_e4 = span.ask_e4 if span.ask_size > 0 else _NO_OFFER
    before_e4 = span.before_ask_e4 if span.before_ask_size > 0 else _NO_OFFER
    if ask_e4 <= before_e4:
        flow -= span.ask_size
    if ask_e4 >= before_e4:
        flow += span.before_ask_size
    return flow


@part
def microseconds(span: Any) -> Any:
    """Its length. Lengths of pieces add up to that of the whole."""
    return span.end_ns // _US - span.begin_ns // _US


def add_order_flow(tally: Any, span: Any) -> None:
    if span.changed:
        tally.flow += flow_of(span)
        tally.changes += 1


def merge_order_flow(tally: Any, later: Any) -> None:
    tally.flow += later.flow
    tally.changes += later.changes


def result_order_flow(tally: Any) -> tuple[int, int]:
    return tally.flow, tally.changes


ORDER_FLOW: Final = Measure(
    "order_flow",
    tally={"flow": "<i8", "changes": "<i8"},
    add=add_order_flow,
    merge=merge_order_flow,
    result=result_order_flow,
    results=("order_flow_imbalance", "quote_changes"),
    of=Source.QUOTES,
)
"""Order-flow imbalance in shares, and changes of a best price or size."""


def add_spread(tally: Any, span: Any) -> None:
    if span.bid_size > 0 and span.ask_size > 0:
        spread_e4 = span.ask_e4 - span.bid_e4
        tally.area += spread_e4 * microseconds(span)
        tally.time_us += microseconds(span)
        tally.low_e4 = spread_e4 if tally.spans == 0 else min(tally.low_e4, spread_e4)
        tally.high_e4 = spread_e4 if tally.spans == 0 else max(tally.high_e4, spread_e4)
        tally.spans += 1


def merge_spread(tally: Any, later: Any) -> None:
    if later.spans > 0:
        tally.low_e4 = later.low_e4 if tally.spans == 0 else min(tally.low_e4, later.low_e4)
        tally.high_e4 = later.high_e4 if tally.spans == 0 else max(tally.high_e4, later.high_e4)
    tally.area += later.area
    tally.time_us += later.time_us
    tally.spans += later.spans


def result_spread(tally: Any) -> tuple[int, int, int]:
    mean_e4 = tally.area // tally.time_us if tally.time_us > 0 else 0
    return mean_e4, tally.low_e4, tally.high_e4


SPREAD: Final = Measure(
    "spread",
    tally={"area": "<i8", "time_us": "<i8", "low_e4": "<i8", "high_e4": "<i8", "spans": "<i8"},
    add=add_spread,
    merge=merge_spread,
    result=result_spread,
    results=("spread_mean_e4", "spread_low_e4", "spread_high_e4"),
    of=Source.QUOTES,
)
"""Best offer less best bid: its average over time, the least and the greatest. A crossed book's is below zero. Within
64 bits it may be 10,000 throughout a day.
"""


def add_imbalance(tally: Any, span: Any) -> None:
    if span.bid_size > 0 and span.ask_size > 0:
        tally.area += imbalance_ppm(span.bid_size, span.ask_size) * microseconds(span)
        tally.time_us += microseconds(span)


def merge_imbalance(tally: Any, later: Any) -> None:
    tally.area += later.area
    tally.time_us += later.time_us


def result_imbalance(tally: Any) -> int:
    return int(tally.area // tally.time_us) if tally.time_us > 0 else 0


BOOK_IMBALANCE: Final = Measure(
    "book_imbalance",
    tally={"area": "<i8", "time_us": "<i8"},
    add=add_imbalance,
    merge=merge_imbalance,
    result=result_imbalance,
    results=("book_imbalance_ppm",),
    of=Source.QUOTES,
)
"""Average over time of (bid - ask) / (bid + ask) of the best levels' shares, each floored to parts per million."""


def add_microprice(tally: Any, span: Any) -> None:
    if span.bid_size > 0 and span.ask_size > 0:
        price_e4 = microprice_e4(span.bid_e4, span.bid_size, span.ask_e4, span.ask_size)
        if tally.spans == 0:
            tally.first_e4 = price_e4
        tally.area += (price_e4 - tally.first_e4) * microseconds(span)
        tally.time_us += microseconds(span)
        tally.last_e4 = price_e4
        tally.spans += 1


def merge_microprice(tally: Any, later: Any) -> None:
    if later.spans > 0:
        if tally.spans == 0:
            tally.first_e4 = later.first_e4
        tally.area += later.area + (later.first_e4 - tally.first_e4) * later.time_us
        tally.time_us += later.time_us
        tally.last_e4 = later.last_e4
        tally.spans += later.spans


def result_microprice(tally: Any) -> tuple[int, int]:
    above = tally.area // tally.time_us if tally.time_us > 0 else 0
    return tally.first_e4 + above, tally.last_e4


MICROPRICE: Final = Measure(
    "microprice",
    tally={"area": "<i8", "time_us": "<i8", "first_e4": "<i8", "last_e4": "<i8", "spans": "<i8"},
    add=add_microprice,
    merge=merge_microprice,
    result=result_microprice,
    results=("microprice_mean_e4", "microprice_last_e4"),
    of=Source.QUOTES,
)
"""The middle weighted by the other side's size: its average over time, and the last one. Within 64 bits, it may move by
10,000 in a window of a day.
"""

SHIPPED: Final = {measure.name: measure for measure in (ORDER_FLOW, SPREAD, BOOK_IMBALANCE, MICROPRICE)}
