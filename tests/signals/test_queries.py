"""Answers of a market, against sums over its depth; and where a replay up to a time ends."""

import numpy as np
import pytest
from common.contracts.reference import Instrument
from common.contracts.ticks import TickKind, Ticks
from common.testing.market_flow import SESSION_NS, directory, flows, price, row, tick_array
from hypothesis import given, settings
from hypothesis import strategies as st
from signals.domain.event_ticks import VenueBook
from signals.domain.market import MarketState
from signals.domain.venue_silence import Heard, Speakers
from signals.event_tables import SPEAKERS, TABLES, shown_key
from signals.queries import QUESTIONS, DepthAnswer, ImbalanceAnswer, IndicatorsAnswer, answer, instrument_of
from signals.replays import until
from signals.venue_queries import venues_of
from streams.testing.tables import MemoryTables

S = 1_000_000_000


@settings(deadline=None, max_examples=40)
@given(flows(size=80), st.integers(1, 10))
def test_answers_of_any_market_then_they_fit_its_depth(ticks: Ticks, levels: int) -> None:
    market = MarketState((S,))
    market.apply(ticks, 0)
    for instrument in range(3):
        assert instrument_of(market, f"SYM{instrument}") == instrument
        told = {question: answer(question, market, instrument, levels, 2, 5) for question in QUESTIONS}
        depth, imbalance, every = told["depth"], told["imbalance"], told["indicators"]
        assert isinstance(depth, DepthAnswer) and isinstance(imbalance, ImbalanceAnswer)
        assert isinstance(every, IndicatorsAnswer)
        (row_of,) = market.depths(np.array([instrument]), 0)
        for side, answered in (("bid", depth.bids), ("ask", depth.asks)):
            there = row_of[f"{side}s"][: min(levels, int(row_of[f"{side}_levels"]))].tolist()
            assert [(level.price_e4, level.size) for level in answered] == there
        bids, asks = (sum(level.size for level in side) for side in (depth.bids, depth.asks))
        assert (imbalance.bid_depth, imbalance.ask_depth) == (bids, asks)
        assert imbalance.imbalance_ppm == ((bids - asks) * 1_000_000 // (bids + asks) if bids + asks else None)
        if depth.bids and depth.asks:
            assert every.spread_e4 == depth.asks[0].price_e4 - depth.bids[0].price_e4
            low, high = sorted((depth.bids[0].price_e4, depth.asks[0].price_e4))
            assert every.microprice_e4 is not None and low <= every.microprice_e4 <= high
        else:
            assert every.spread_e4 is every.microprice_e4 is None
        assert every.last_e4 == int(market.books.listings["last_e4"][instrument])
        assert sum(window.numbers["trades"] > 0 for window in every.windows) == len(every.windows)
    assert instrument_of(market, "NOBODY") is None


def test_indicators_of_an_open_window_then_its_bar_so_far() -> None:
    trades = [row(TickKind.TRADE, at, instrument_id=0, price_e4=price(at), qty=5, aux_ref=1 + at) for at in (1, 2)]
    market = MarketState((S, 60 * S))
    market.apply(tick_array([*directory(["A"]), *trades]), 0)
    told = answer("indicators", market, 0, 10, 0, 1)
    assert isinstance(told, IndicatorsAnswer)
    assert [(window.window_ns, window.window_start_ns) for window in told.windows] == [
        (S, SESSION_NS),
        (60 * S, SESSION_NS),
    ]
    assert told.windows[0].numbers["volume"] == 10
    assert told.windows[0].numbers["close_e4"] == price(2)


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(0, 50), st.integers(0, 60))
def test_until_then_the_clock_has_passed_with_the_next_tick(times: list[int], clock: int, at: int) -> None:
    ticks = tick_array([row(TickKind.HEARTBEAT, time, instrument_id=-1) for time in times])
    applied = until(ticks, SESSION_NS + clock, SESSION_NS + at)
    clocks = [max([clock, *times[: number + 1]]) for number in range(len(times))]
    assert all(each <= at for each in clocks[:applied])
    assert applied == len(times) or clocks[applied] > at


@pytest.mark.parametrize("question", QUESTIONS)
def test_answer_of_an_empty_book_then_what_needs_two_sides_is_missing(question: str) -> None:
    market = MarketState((S,))
    market.apply(tick_array(directory(["A"])), 0)
    told = answer(question, market, 0, 10, 0, 1).model_dump(exclude_none=True)
    assert not {"spread_e4", "spread_ppm", "microprice_e4", "imbalance_ppm", "best_imbalance_ppm"} & set(told)


BOOKS = st.builds(VenueBook, *[st.dictionaries(st.integers(1, 4), st.integers(1, 9), max_size=3)] * 2)


@given(
    st.dictionaries(st.sampled_from(["AA", "BB", "CC"]), st.tuples(BOOKS, st.booleans()), min_size=1),
    st.dictionaries(st.sampled_from(["DD", "EE"]), st.tuples(BOOKS, st.booleans())),
)
def test_venues_of_a_symbol_then_the_best_is_that_of_all_levels_of_those_that_are_not_left_out(
    here: dict[str, tuple[VenueBook, bool]], there: dict[str, tuple[VenueBook, bool]]
) -> None:
    partitions = []
    for number, shown in enumerate((here, there)):
        tables = MemoryTables(TABLES, number)
        tables.globals("instruments").put(b"A", Instrument(instrument_id=7, symbol="A"))
        heard = {venue: Heard(5, is_out) for venue, (_, is_out) in shown.items()}
        tables.changelogged("speakers").put(SPEAKERS, Speakers(heard))
        for venue, (book, _) in shown.items():
            tables.changelogged("shown").put(shown_key(7, venue), book)
        tables.changelogged("shown").put(shown_key(71, "AA"), VenueBook({9: 9}, {1: 1}))
        partitions.append(tables)
    told = venues_of("A", partitions)
    assert told is not None
    every = here | there
    assert [quote.venue for quote in told.venues] == sorted(every)
    levels = [
        (side, price, size, venue)
        for venue, (book, is_out) in every.items()
        if not is_out
        for side, rows in (("bid", book.bids), ("ask", book.asks))
        for price, size in rows.items()
    ]
    for side, best in (("bid", max), ("ask", min)):
        prices = [price for own, price, _, _ in levels if own == side]
        price_e4 = best(prices) if prices else 0
        at_best = [(size, venue) for own, price, size, venue in levels if (own, price) == (side, price_e4)]
        assert getattr(told, f"{side}_e4") == price_e4
        assert getattr(told, f"{side}_size") == sum(size for size, _ in at_best)
        assert getattr(told, f"{side}_venues") == sorted(venue for _, venue in at_best)
    assert venues_of("B", partitions) is None
