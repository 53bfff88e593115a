"""Answers of a market on one symbol: depth, spread, imbalance, and every indicator that it has."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from common.contracts.market import BAR, DEPTH_LEVELS
from common.contracts.values import INT64_MAX
from pydantic import BaseModel, Field

from signals.domain.layout import Array
from signals.domain.market import MarketState
from signals.domain.quote_measures import imbalance_ppm, microprice_e4

_HEAD: Final = ("symbol", "window_start_ns", "window_ns", "instrument_id", "revision", "reserved")


class AsOf(BaseModel):
    """The place in the log whose state an answer is of."""

    partition: int = Field(description="of `md.ticks`")
    next_offset: int = Field(description="of the first record of `md.ticks` that the answer does not know of")
    clock_ns: int = Field(description="greatest event time so far of the partition")
    event_ns: int = Field(description="exchange time of the symbol's last change")


class OfSymbol(BaseModel):
    """The fields that every answer has."""

    symbol: str
    as_of: AsOf


class Level(BaseModel):
    price_e4: int
    size: int


class DepthAnswer(OfSymbol):
    bids: list[Level] = Field(description="best first")
    asks: list[Level] = Field(description="best first")


class SpreadAnswer(OfSymbol):
    """A side that is empty has the price and the size 0; what needs both sides is then missing."""

    bid_e4: int
    bid_size: int
    ask_e4: int
    ask_size: int
    spread_e4: int | None = Field(default=None, description="best offer less best bid; below zero where they cross")
    spread_ppm: int | None = Field(default=None, description="of the middle, floored")


class ImbalanceAnswer(OfSymbol):
    """(bid - ask) / (bid + ask) of shares, floored to parts per million; missing where neither side has any."""

    levels: int = Field(description="price levels of a side that `bid_depth` and `ask_depth` are the shares of")
    bid_depth: int
    ask_depth: int
    best_imbalance_ppm: int | None = Field(default=None, description="of the best level of each side")
    imbalance_ppm: int | None = Field(default=None, description="of all these levels")
    microprice_e4: int | None = Field(default=None, description="the middle weighted by the other side's best size")


class OpenWindow(BaseModel):
    window_ns: int
    window_start_ns: int
    numbers: dict[str, int] = Field(description="the bar so far, and the numbers of the measures of trades that are on")


class IndicatorsAnswer(SpreadAnswer, ImbalanceAnswer):
    """Everything about the book, and the content so far of the windows that hold a trade."""

    last_e4: int = Field(description="0 before the first trade of the session")
    volume: int = Field(description="shares of the session so far")
    trading_state: str = Field(description="T trading, H halted, P paused, Q quotation only; empty: never said")
    windows: list[OpenWindow]


def instrument_of(market: MarketState, symbol: str) -> int | None:
    """Its id in this partition; None where it is not listed there."""
    found = np.flatnonzero(market.books.symbols == symbol.encode())
    return int(found[0]) if len(found) else None


def _whole(market: MarketState, instrument_id: int, levels: int) -> tuple[Array, dict[str, object]]:
    """The depth ``[side, level, (price, size)]``, and the fields of an answer that everything is taken from."""
    ids = np.array([instrument_id])
    depth = market.books.depth(ids)[0][0, :, :levels]
    (bid_e4, bid_size), (ask_e4, ask_size) = depth[:, 0].tolist()
    bid_depth, ask_depth = (min(INT64_MAX, sum(side)) for side in depth[:, :, 1].tolist())
    fields: dict[str, object] = {"bid_e4": bid_e4, "bid_size": bid_size, "ask_e4": ask_e4, "ask_size": ask_size}
    fields |= {"levels": levels, "bid_depth": bid_depth, "ask_depth": ask_depth}
    if bid_depth + ask_depth:
        fields["best_imbalance_ppm"] = imbalance_ppm.py_func(bid_size, ask_size)
        fields["imbalance_ppm"] = imbalance_ppm.py_func(bid_depth, ask_depth)
    if bid_size and ask_size:
        fields["spread_e4"] = ask_e4 - bid_e4
        fields["spread_ppm"] = 2_000_000 * (ask_e4 - bid_e4) // (ask_e4 + bid_e4)
        fields["microprice_e4"] = microprice_e4.py_func(bid_e4, bid_size, ask_e4, ask_size)
    return depth, fields


def _windows(market: MarketState, instrument_id: int) -> list[OpenWindow]:
    rows = market.bars.open_bars(np.array([instrument_id]))
    names = [name for name in (*(BAR.names or ()), *market.bars.measures.results) if name not in _HEAD]
    return [
        OpenWindow(
            window_ns=int(row["window_ns"]),
            window_start_ns=int(row["window_start_ns"]),
            numbers={name: int(row[name]) for name in names},
        )
        for row in rows
    ]


def answer(
    question: str, market: MarketState, instrument_id: int, levels: int, partition: int, next_offset: int
) -> OfSymbol:
    """Answers a question of ``QUESTIONS`` to the market. Costs some ten microseconds, and changes nothing."""
    listing = market.books.listings[instrument_id]
    depth, fields = _whole(market, instrument_id, levels)
    fields["symbol"] = market.books.symbols[instrument_id].decode()
    fields["as_of"] = AsOf(
        partition=partition,
        next_offset=next_offset,
        clock_ns=market.books.clock_ns,
        event_ns=int(listing["event_ns"]),
    )
    if question == "depth":
        for side, rows in zip(("bids", "asks"), depth.tolist(), strict=True):
            fields[side] = [Level(price_e4=price_e4, size=size) for price_e4, size in rows if size]
    if question == "indicators":
        fields |= {"last_e4": int(listing["last_e4"]), "volume": int(listing["volume"])}
        state = int(listing["trading_state"])
        fields |= {"trading_state": chr(state) if state else "", "windows": _windows(market, instrument_id)}
    return QUESTIONS[question].model_validate(fields)


QUESTIONS: Final[Mapping[str, type[OfSymbol]]] = {
    "depth": DepthAnswer,
    "spread": SpreadAnswer,
    "imbalance": ImbalanceAnswer,
    "indicators": IndicatorsAnswer,
}
"""Question → shape of its answer."""
LEVELS_MAX: Final = DEPTH_LEVELS
