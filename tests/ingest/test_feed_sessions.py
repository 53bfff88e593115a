"""Feed readers as the worker runs them: each tick once over any deaths, paced, and announced before they are used."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from common.contracts.ticks import Ticks
from common.contracts.topics import MD_TICKS
from common.feed_ticks import BUY, SELL, LevelBook, References, TickRows
from common.feeds import INT64_MAX, FeedContext, FeedReader, Listing, decimals_of, scaled
from hypothesis import given
from hypothesis import strategies as st
from ingest.domain.anomalies import Report
from ingest.domain.instruments import InstrumentRegistry
from ingest.domain.partitions import deal
from ingest.feeds import installed
from ingest.feeds.offline import reader_ticks
from ingest.feeds.reading import FeedProtocolError, Reading
from ingest.settings import FeedSettings, IngestSettings

from tests.ingest.conftest import Fleet, without_beats

OfflineMarket = pytest.importorskip("signals.offline", reason="books are made by signals").OfflineMarket

NOON_NS = 1_704_214_800_000_000_000
RECORDS = 600


def read(context: FeedContext) -> Iterator[Ticks]:
    """Trades and levels of three instruments, four records a millisecond, a handful of records at a time."""
    rows = TickRows()
    books, references = list[LevelBook](), References()
    for number in range(1, RECORDS + 1):
        if number in (1, 5, 300):
            listed = context.enlist(f"SYM{number}", Listing(qty_decimals=2))
            assert listed is not None
            books.append(LevelBook(rows, listed.instrument_id, references))
        at_ns = NOON_NS + number * 250_000
        book = books[number % len(books)]
        context.records(1)
        rows.trade(at_ns, number, book.instrument_id, 10_000 + number, 5, match=number)
        book.set(
            at_ns, number, BUY if number % 2 else SELL, 10_000 + number % 7 * (1 if number % 2 else -1), number % 5
        )
        if number % 9 == 0:
            yield rows.take()
    yield rows.take()


TESTED = FeedReader("tested", "for tests", read)


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(installed.BUILT_IN, "tested", ("tests.ingest.test_feed_sessions", "TESTED"))


def reader_settings(**chosen: Any) -> IngestSettings:
    usual: dict[str, Any] = {"reader": "tested", "sources": ("-",), "speed": "max"}
    return IngestSettings(feed=FeedSettings(kind="reader", linger=False, **(usual | chosen)))


def expected() -> Any:
    return np.concatenate(list(reader_ticks("tested", ("-",))))


@pytest.mark.parametrize("kills", [(), (3,), (10, 25, 40), tuple(range(8, 200, 9))])
async def test_reader_when_killed_then_each_tick_is_committed_once(
    kills: tuple[int, ...], make_fleet: Callable[..., Fleet]
) -> None:
    fleet = make_fleet(kills)
    feed = await fleet.run_until_over(reader_settings())
    assert feed.failure is None
    for partition, part in enumerate(deal(without_beats(expected()), MD_TICKS.partitions)):
        assert np.array_equal(without_beats(fleet.ticks(partition)), part)
    said = [(one.instrument_id, one.symbol, one.qty_decimals) for one in fleet.instruments()]
    assert said == [(0, "SYM1", 2), (1, "SYM5", 2), (2, "SYM300", 2)]
    assert fleet.position().session_ns == NOON_NS // 86_400_000_000_000 * 86_400_000_000_000


async def test_reader_when_paced_then_cut_between_records_and_the_same_ticks(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet()
    began = fleet.clock.ns
    await fleet.run_until_over(reader_settings(speed="2", step_ms=1))
    assert fleet.clock.ns - began >= RECORDS * 250_000 / 2 - 1_000_000
    ticks = np.concatenate([fleet.ticks(partition) for partition in range(MD_TICKS.partitions)])
    assert len(without_beats(ticks)) == len(without_beats(expected()))


async def test_reader_when_it_is_not_there_then_refused_in_one_line(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet()
    feed = await fleet.run_until_over(reader_settings(reader="nothing"))
    assert "feed 'nothing' is installed 0 times, not once; there are" in str(feed.failure)
    feed = await fleet.run_until_over(reader_settings(options={"colour": "red"}))
    assert str(feed.failure) == "feed 'tested' has no option 'colour'; it has reference"


def reading(parts: list[Any]) -> Reading:
    reader = FeedReader("tested", "", lambda _: iter(parts))
    registry = InstrumentRegistry()
    registry.enlist("A", Listing())
    return Reading(reader, ("-",), options={}, day=None, registry=registry, report=Report())


@pytest.mark.parametrize("fault", ["decreases", "unlisted", "no ticks"])
def test_reader_when_it_breaks_the_protocol_then_refused(fault: str) -> None:
    rows = TickRows()
    rows.trade(1, 5, 0, 1, 1)
    rows.trade(1, 4 if fault == "decreases" else 6, 7 if fault == "unlisted" else 0, 1, 1)
    parts = [np.zeros(3)] if fault == "no ticks" else [rows.take()]
    with pytest.raises(FeedProtocolError):
        list(reading(parts))


# --- books of levels ----------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9), st.integers(0, 3)), max_size=60))
def test_levels_when_set_in_any_order_then_the_fleet_has_the_same_book(updates: list[tuple[bool, int, int]]) -> None:
    rows = TickRows()
    book = LevelBook(rows, 0, References())
    levels = {BUY: dict[int, int](), SELL: dict[int, int]()}
    for number, (is_bid, price, qty) in enumerate(updates, 1):
        side = BUY if is_bid else SELL
        book.set(NOON_NS, number, side, price, qty)
        levels[side][price] = qty
    market = OfflineMarket([60_000_000_000])
    for _ in market.apply(rows.take()):
        pass
    assert not any(market.books.anomalies().values())
    if not updates or not len(market.books.sides):
        return
    depth, counts = market.books.depth(np.array([0]))
    for row, side in enumerate((BUY, SELL)):
        held = sorted(((p, q) for p, q in levels[side].items() if q), reverse=side == BUY)
        assert depth[0, row, : counts[0, row]].tolist() == [list(level) for level in held]


def test_clear_then_the_instrument_has_no_book_and_others_keep_theirs() -> None:
    rows = TickRows()
    references = References()
    books = [LevelBook(rows, instrument, references) for instrument in range(2)]
    for number in range(1, 200):
        books[number % 2].set(NOON_NS, number, BUY if number % 3 else SELL, 1_000 + number, 1 + number)
    rows.clear(NOON_NS, 200, 0)
    market = OfflineMarket([60_000_000_000])
    changes = [change for _, changed in market.apply(rows.take()) for change in changed.tolist()]
    assert changes[-1] == (200, 0, 0, 0, 0, 0, NOON_NS, NOON_NS)
    depth, counts = market.books.depth(np.array([0, 1]))
    assert counts[0].tolist() == [0, 0]
    assert depth[1, 0, 0].tolist() == list(books[1].best()[:2])


@given(st.integers(-(10**12), 10**12), st.integers(0, 9), st.integers(0, 9))
def test_scaled_when_exact_then_the_integer_else_none(value: int, decimals: int, wanted: int) -> None:
    text = (
        f"{'-' if value < 0 else ''}{abs(value) // 10**decimals}.{abs(value) % 10**decimals:0{decimals}d}"
        if (decimals)
        else str(value)
    )
    units, rest = divmod(value * 10**wanted, 10**decimals)
    assert scaled(text, wanted) == (units if not rest and abs(units) <= INT64_MAX else None)
    assert decimals_of(text) <= decimals


@pytest.mark.parametrize("text", ["", ".", "1e5", "1.2.3", "x", "1.x", "--1"])
def test_scaled_when_no_decimal_number_then_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        scaled(text, 4)
