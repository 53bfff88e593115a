"""Events of a feed beside its ticks: those of a book kept in plain Python, each once, whatever happens in between."""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from common.contracts.market_events import MarketEvent, MarketEventKind
from common.contracts.ticks import TickFlag, TickKind, Ticks, ref_to_symbol
from common.contracts.values import Side
from ingest.offline import tick_chunks
from ingest.settings import FeedSettings, IngestSettings

RESTING = {ord("B"): Side.BUY, ord("S"): Side.SELL}
ADDS = (TickKind.ADD, TickKind.ADD_WITH_MPID)
EXECUTIONS = (TickKind.EXECUTED, TickKind.EXECUTED_WITH_PRICE)
TRADES = (TickKind.TRADE, TickKind.CROSS_TRADE)
Best = tuple[int, int, int, int]


class PlainBooks:
    """Orders in a dictionary, levels summed up anew for each look."""

    def __init__(self) -> None:
        self.events: dict[str, list[MarketEvent]] = defaultdict(list)
        self._orders: dict[int, list[Any]] = {}
        self._symbols: dict[int, str] = {}

    def apply(self, tick: Any) -> None:
        kind, instrument, ref = int(tick["kind"]), int(tick["instrument_id"]), int(tick["order_ref"])
        if kind == TickKind.STOCK_DIRECTORY:
            self._symbols[instrument] = ref_to_symbol(ref)
        if instrument < 0:
            return
        before = self._best(instrument)
        order = self._orders.get(ref)
        if kind in ADDS:
            self._orders[ref] = [instrument, RESTING[int(tick["side"])], int(tick["price_e4"]), int(tick["qty"])]
        elif kind in EXECUTIONS and order:
            if kind == TickKind.EXECUTED or tick["flags"] & TickFlag.PRINTABLE:
                self._trade(tick, order[2] if kind == TickKind.EXECUTED else int(tick["price_e4"]), order[1])
            self._reduce(ref, int(tick["qty"]))
        elif kind == TickKind.CANCEL:
            self._reduce(ref, int(tick["qty"]))
        elif kind == TickKind.DELETE:
            del self._orders[ref]
        elif kind == TickKind.REPLACE and order:
            del self._orders[ref]
            self._orders[int(tick["aux_ref"])] = [*order[:2], int(tick["price_e4"]), int(tick["qty"])]
        elif kind in TRADES and tick["qty"]:
            self._trade(tick, int(tick["price_e4"]), None)
        elif kind == TickKind.BROKEN_TRADE:
            self._add(tick, MarketEventKind.TRADE_BREAK, trade_id=int(tick["aux_ref"]))
        after = self._best(instrument)
        if after != before:
            names = ("bid_e4", "bid_size", "ask_e4", "ask_size")
            self._add(tick, MarketEventKind.BBO, **dict(zip(names, after, strict=True)))

    def _trade(self, tick: Any, price: int, side: Side | None) -> None:
        numbers = {"price_e4": price, "qty": int(tick["qty"]), "trade_id": int(tick["aux_ref"])}
        self._add(tick, MarketEventKind.TRADE, side=side, **numbers)

    def _add(self, tick: Any, kind: MarketEventKind, **fields: Any) -> None:
        symbol = self._symbols[int(tick["instrument_id"])]
        said = {"event_ns": int(tick["event_ns"]), "sequence": int(tick["sequence"]), "from_ticks": True}
        self.events[symbol].append(MarketEvent(kind=kind, symbol=symbol, venue="XNAS", **said, **fields))

    def _reduce(self, ref: int, qty: int) -> None:
        self._orders[ref][3] -= qty
        if self._orders[ref][3] <= 0:
            del self._orders[ref]

    def _best(self, instrument: int) -> Best:
        sizes: dict[Side, dict[int, int]] = {side: defaultdict(int) for side in Side}
        for of, side, price, qty in self._orders.values():
            if of == instrument:
                sizes[side][price] += qty
        bid, ask = max(sizes[Side.BUY], default=0), min(sizes[Side.SELL], default=0)
        return bid, sizes[Side.BUY].get(bid, 0), ask, sizes[Side.SELL].get(ask, 0)


def by_symbol(events: list[MarketEvent]) -> dict[str, list[MarketEvent]]:
    found: dict[str, list[MarketEvent]] = defaultdict(list)
    for event in events:
        found[event.symbol].append(event)
    return found


def settings_of(path: Path, events: bool = False) -> IngestSettings:
    feed = FeedSettings(kind="file", file=path, speed="max", linger=False, events=events)
    return IngestSettings(feed=feed, chunk_bytes=1 << 14)


@pytest.fixture(scope="module")
def expected(recorded: Path) -> dict[str, list[MarketEvent]]:
    books = PlainBooks()
    ticks: Ticks
    for ticks in tick_chunks(recorded):
        for tick in ticks:
            books.apply(tick)
    return books.events


async def test_feed_when_events_are_asked_for_then_those_of_a_plain_book_in_the_order_of_their_messages(
    make_fleet: Callable[..., Any], recorded: Path, expected: dict[str, list[MarketEvent]]
) -> None:
    fleet = make_fleet()
    await fleet.run(fleet.feed(settings_of(recorded, events=True)))
    found = by_symbol(fleet.events())
    assert found == expected
    kinds = {event.kind for events in found.values() for event in events}
    assert {MarketEventKind.TRADE, MarketEventKind.BBO} <= kinds
    assert sum(event.kind is MarketEventKind.TRADE for events in found.values() for event in events) > 100


async def test_feed_when_killed_again_and_again_then_each_event_once_with_the_prices_of_orders_from_before(
    make_fleet: Callable[..., Any], recorded: Path, expected: dict[str, list[MarketEvent]]
) -> None:
    fleet = make_fleet(kills=[5, 40, 90, 150, 200])
    await fleet.run_until_over(settings_of(recorded, events=True))
    assert fleet.deaths == 5
    assert by_symbol(fleet.events()) == expected


async def test_feed_when_nobody_asked_then_no_event_is_written(make_fleet: Callable[..., Any], recorded: Path) -> None:
    fleet = make_fleet()
    await fleet.run(fleet.feed(settings_of(recorded)))
    assert fleet.events() == []
