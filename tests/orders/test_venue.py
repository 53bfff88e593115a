"""The venue: prices, sizes, priority, and the two copies of the market that it reads."""

from typing import Any

import pytest
from common.contracts.events import ExecType, ExecutionReport
from common.contracts.market import MARK, decode_rows, mark_clock_key
from common.contracts.topics import MD_MARKS, ORDERS_EXECUTIONS, VENUE_ORDERS
from common.contracts.values import IMMEDIATE, OrderType, SelfMatch, Side, TimeInForce
from hypothesis import given, settings
from hypothesis import strategies as st
from orders.domain.venue import CANCELED_AS_NEWEST, CANCELED_AS_OLDEST, CANCELED_BELOW_MINIMUM, priority_key
from orders.venue import books, rows, stage
from orders.venue.calendar_file import load_calendar

NEW, TRADE, CANCELED, CANCEL_REJECTED = (
    ExecType.NEW,
    ExecType.TRADE,
    ExecType.CANCELED,
    ExecType.CANCEL_REJECTED,
)


class Floor:
    """The venue stage with a market: each mark reaches the global table, and the input unless it is held back."""

    def __init__(self, make: Any) -> None:
        self.make = make
        self.bench = make.bench(stage.Venue(load_calendar("XNAS")).handle, rows.TABLES)

    def show(self, *, to_input: bool = True, **mark: Any) -> list[ExecutionReport]:
        value = self.make.mark(**mark)
        shown = self.bench.tables.globals("marks")
        shown.put(b"AAPL", decode_rows(MARK, value))
        offset = shown.get(b"AAPL").offset
        return self.feed(value, offset) if to_input else []

    def feed(self, value: bytes, offset: int) -> list[ExecutionReport]:
        return self._reports(self.bench.handle(MD_MARKS, "AAPL", value, offset))

    def send(self, order_id: str = "A.1", **order: Any) -> list[ExecutionReport]:
        return self._reports(self.bench.handle(VENUE_ORDERS, "AAPL", self.make.venue_order(order_id, **order)))

    def cancel(self, order_id: str = "A.1", **changes: Any) -> list[ExecutionReport]:
        return self._reports(self.bench.handle(VENUE_ORDERS, "AAPL", self.make.venue_cancel(order_id, **changes)))

    def _reports(self, handled: Any) -> list[ExecutionReport]:
        reports: list[ExecutionReport] = self.make.bodies(handled, ORDERS_EXECUTIONS)
        return reports


@pytest.fixture
def floor(make: Any) -> Floor:
    return Floor(make)


def _said(reports: list[ExecutionReport]) -> list[tuple[str, ExecType, int]]:
    return [(report.order_id, report.exec_type, report.last_qty) for report in reports]


def test_buy_when_limit_reaches_the_ask_then_acknowledged_and_filled_at_the_ask(floor: Floor) -> None:
    floor.show(ask=(999_000, 300))
    acknowledged, traded = floor.send(limit_price_e4=1_000_000)
    assert (acknowledged.exec_type, acknowledged.cum_qty, acknowledged.leaves_qty) == (NEW, 0, 100)
    assert (traded.exec_type, traded.last_qty, traded.last_price_e4) == (TRADE, 100, 999_000)
    assert (traded.cum_qty, traded.leaves_qty) == (100, 0)
    assert [acknowledged.execution_id, traded.execution_id] == ["A.1.1", "A.1.2"]


def test_sell_when_limit_reaches_the_bid_then_filled_at_the_bid(floor: Floor) -> None:
    floor.show(bid=(990_000, 60))
    reports = floor.send(side=Side.SELL, limit_price_e4=980_000)
    assert _said(reports) == [("A.1", NEW, 0), ("A.1", TRADE, 60)]
    assert reports[1].last_price_e4 == 990_000
    assert reports[1].leaves_qty == 40


def test_size_of_a_mark_is_sold_once(floor: Floor) -> None:
    floor.show(ask=(1_000_000, 150))
    assert _said(floor.send("A.1"))[1:] == [("A.1", TRADE, 100)]
    assert _said(floor.send("A.2"))[1:] == [("A.2", TRADE, 50)]
    assert _said(floor.send("A.3"))[1:] == []
    assert _said(floor.show(ask=(1_000_000, 120))) == [("A.2", TRADE, 50), ("A.3", TRADE, 70)]


def test_newest_is_canceled_then_it_trades_what_stands_before_its_own_and_no_more(floor: Floor) -> None:
    floor.show(bid=(990_000, 9), ask=(1_000_000, 60))
    floor.send("A.1", side=Side.SELL, limit_price_e4=1_010_000)
    reports = floor.send("A.2", limit_price_e4=1_020_000, self_match=SelfMatch.CANCEL_NEWEST)
    assert _said(reports) == [("A.2", NEW, 0), ("A.2", TRADE, 60), ("A.2", CANCELED, 0)]
    assert (reports[-1].cum_qty, reports[-1].leaves_qty, reports[-1].text) == (60, 0, CANCELED_AS_NEWEST)
    assert floor.bench.rows("resting").keys() == {priority_key("AAPL", Side.SELL, 1_010_000, 1)}


def test_newest_is_canceled_when_its_own_stands_at_the_ask_then_it_trades_nothing(floor: Floor) -> None:
    floor.send("A.1", side=Side.SELL, limit_price_e4=1_000_000)
    floor.show(bid=(990_000, 9), ask=(1_000_000, 60))
    reports = floor.send("A.2", limit_price_e4=1_000_000, self_match=SelfMatch.CANCEL_NEWEST)
    assert _said(reports) == [("A.2", NEW, 0), ("A.2", CANCELED, 0)]


def test_oldest_are_canceled_then_all_that_it_meets_end_before_it_trades(floor: Floor) -> None:
    floor.show(bid=(980_000, 9), ask=(1_020_000, 60))
    for order_id, limit_price_e4 in (("A.1", 1_010_000), ("A.2", 1_000_000), ("A.3", 1_020_100), ("B.1", 1_000_000)):
        floor.send(order_id, side=Side.SELL, limit_price_e4=limit_price_e4)
    reports = floor.send("A.4", limit_price_e4=1_020_000, self_match=SelfMatch.CANCEL_OLDEST)
    ended = [("A.2", CANCELED, 0), ("A.1", CANCELED, 0)]
    assert _said(reports) == [*ended, ("A.4", NEW, 0), ("A.4", TRADE, 60)]
    assert {report.text for report in reports[:2]} == {CANCELED_AS_OLDEST}
    assert [order_id for _, order_id in floor.bench.rows("resting").items()] == ["A.4", "B.1", "A.3"]
    book = floor.bench.rows("books")[b"AAPL"]
    assert (book.resting, book.best_sell_e4, book.best_buy_e4) == (3, 1_000_000, 1_020_000)
    assert _said(floor.cancel("A.1")) == [("A.1", CANCEL_REJECTED, 0)]
    assert floor.send("A.4", limit_price_e4=1_020_000, self_match=SelfMatch.CANCEL_OLDEST) == []


@pytest.mark.parametrize("self_match", [None, *SelfMatch])
def test_own_that_it_does_not_meet_then_it_rests_beside_it(floor: Floor, self_match: SelfMatch | None) -> None:
    floor.send("A.1", side=Side.SELL, limit_price_e4=1_000_000)
    floor.send("B.1", side=Side.SELL, limit_price_e4=900_000)
    assert _said(floor.send("A.2", limit_price_e4=999_900, self_match=self_match)) == [("A.2", NEW, 0)]


def test_resting_orders_are_served_by_price_then_time(floor: Floor) -> None:
    for order_id, limit_price_e4 in (("A.1", 998_000), ("A.2", 999_000), ("A.3", 998_000), ("A.4", 999_000)):
        floor.send(order_id, limit_price_e4=limit_price_e4, qty=10)
    served = _said(floor.show(ask=(998_000, 35)))
    assert served == [("A.2", TRADE, 10), ("A.4", TRADE, 10), ("A.1", TRADE, 10), ("A.3", TRADE, 5)]


def test_resting_sells_are_served_by_price_then_time(floor: Floor) -> None:
    for order_id, limit_price_e4 in (("A.1", 1_002_000), ("A.2", 1_001_000), ("A.3", 1_001_000)):
        floor.send(order_id, side=Side.SELL, limit_price_e4=limit_price_e4, qty=10)
    assert _said(floor.show(bid=(1_002_000, 25))) == [("A.2", TRADE, 10), ("A.3", TRADE, 10), ("A.1", TRADE, 5)]


@pytest.mark.parametrize("kind", [{"time_in_force": TimeInForce.IOC}, {"order_type": OrderType.MARKET}])
def test_immediate_order_when_size_is_short_then_rest_is_canceled(floor: Floor, kind: dict[str, Any]) -> None:
    floor.show(ask=(1_000_000, 30))
    reports = floor.send(**kind)
    assert _said(reports) == [("A.1", NEW, 0), ("A.1", TRADE, 30), ("A.1", CANCELED, 0)]
    assert (reports[2].cum_qty, reports[2].leaves_qty) == (30, 0)
    assert floor.show() == []


@pytest.mark.parametrize("time_in_force", [TimeInForce.IOC, TimeInForce.FOK])
@pytest.mark.parametrize("order_type", OrderType)
def test_minimum_when_the_size_reaches_it_then_it_trades_else_nothing_does(
    floor: Floor, time_in_force: TimeInForce, order_type: OrderType
) -> None:
    """At the limit, and one share below it: of 100 shares a FOK needs all, an IOC here 40."""
    least = 100 if time_in_force is TimeInForce.FOK else 40
    kind = {"time_in_force": time_in_force, "order_type": order_type}
    floor.show(ask=(1_000_000, least - 1))
    nothing = floor.send("A.1", min_qty=least, **kind)
    assert _said(nothing) == [("A.1", NEW, 0), ("A.1", CANCELED, 0)]
    assert (nothing[1].cum_qty, nothing[1].leaves_qty, nothing[1].text) == (0, 0, CANCELED_BELOW_MINIMUM)
    assert _said(floor.send("A.2", qty=least - 1))[1:] == [("A.2", TRADE, least - 1)]
    floor.show(ask=(1_000_000, least))
    reports = floor.send("A.3", min_qty=least, **kind)
    assert _said(reports)[:2] == [("A.3", NEW, 0), ("A.3", TRADE, least)]
    assert (reports[-1].cum_qty, reports[-1].leaves_qty) == (least, 0)


def test_fok_when_it_says_no_minimum_then_it_is_all_of_it(floor: Floor) -> None:
    floor.show(ask=(1_000_000, 99))
    assert _said(floor.send(time_in_force=TimeInForce.FOK)) == [("A.1", NEW, 0), ("A.1", CANCELED, 0)]


def test_fok_when_the_symbol_is_quiet_or_halted_then_the_cancel_says_why(floor: Floor) -> None:
    assert floor.send("A.1", time_in_force=TimeInForce.FOK)[1].text == "no more liquidity within the limit"
    floor.show(state="H")
    assert floor.send("A.2", time_in_force=TimeInForce.FOK)[1].text == "symbol is not trading"
    floor.show(ask=(2_000_000, 500))
    assert floor.send("A.3", time_in_force=TimeInForce.FOK)[1].text == "no more liquidity within the limit"


def test_fok_when_it_meets_an_own_order_then_all_of_it_trades_before_that_or_none(floor: Floor) -> None:
    floor.show(bid=(990_000, 9), ask=(1_000_000, 99))
    floor.send("A.1", side=Side.SELL, limit_price_e4=1_010_000)
    kind: dict[str, Any] = {
        "limit_price_e4": 1_020_000, "self_match": SelfMatch.CANCEL_NEWEST, "time_in_force": TimeInForce.FOK,
    }  # fmt: skip
    assert _said(floor.send("A.2", qty=100, **kind)) == [("A.2", NEW, 0), ("A.2", CANCELED, 0)]
    assert _said(floor.send("A.3", qty=99, **kind)) == [("A.3", NEW, 0), ("A.3", TRADE, 99)]


@pytest.mark.parametrize(
    "terms",
    [
        {"time_in_force": TimeInForce.GTD},
        {"time_in_force": TimeInForce.GTC, "expire_ns": 1},
        {"time_in_force": TimeInForce.DAY, "min_qty": 1},
        {"time_in_force": TimeInForce.GTC, "min_qty": 100},
    ],
)
def test_terms_when_they_contradict_each_other_then_poison(floor: Floor, terms: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"order A\.1: "):
        floor.send(**terms)


def test_market_order_when_quote_ran_beyond_the_protection_then_canceled(floor: Floor) -> None:
    floor.show(ask=(1_000_100, 300))
    assert _said(floor.send(order_type=OrderType.MARKET)) == [("A.1", NEW, 0), ("A.1", CANCELED, 0)]


@pytest.mark.parametrize("state", ["H", "P", "Q"])
def test_order_when_symbol_is_halted_then_it_rests_until_trading(floor: Floor, state: str) -> None:
    floor.show(state=state)
    assert _said(floor.send()) == [("A.1", NEW, 0)]
    assert _said(floor.send("A.2", time_in_force=TimeInForce.IOC)) == [("A.2", NEW, 0), ("A.2", CANCELED, 0)]
    assert floor.show(state=state) == []
    assert _said(floor.show(state="T")) == [("A.1", TRADE, 100)]


@pytest.mark.parametrize("mark", [None, {"ask": (0, 0)}])
def test_order_when_nothing_is_offered_then_it_rests(floor: Floor, mark: dict[str, Any] | None) -> None:
    if mark:
        floor.show(**mark)
    assert _said(floor.send()) == [("A.1", NEW, 0)]


def test_order_when_sent_again_then_ignored_open_or_closed(floor: Floor) -> None:
    floor.send("A.1", limit_price_e4=1)
    floor.show()
    floor.send("A.2")
    assert floor.send("A.1", limit_price_e4=1) == []
    assert floor.send("A.2") == []


def test_cancel_when_open_then_canceled_and_never_filled(floor: Floor) -> None:
    floor.send("A.1")
    floor.send("A.2")
    (report,) = floor.cancel("A.1")
    assert (report.exec_type, report.leaves_qty, report.execution_id) == (CANCELED, 0, "A.1.2")
    assert _said(floor.show()) == [("A.2", TRADE, 100)]


def test_cancel_when_closed_or_unknown_then_refused(floor: Floor) -> None:
    floor.show()
    floor.send("A.1")
    assert _said(floor.cancel("A.1")) == [("A.1", CANCEL_REJECTED, 0)]
    (unknown,) = floor.cancel("A.9", sent_ns=77)
    assert (unknown.exec_type, unknown.execution_id) == (CANCEL_REJECTED, "A.9.unknown-0-2")


def test_arriving_order_when_it_meets_a_newer_mark_then_who_rests_is_served_first(floor: Floor) -> None:
    floor.send("A.1")
    floor.show(ask=(1_000_000, 120), to_input=False)
    assert _said(floor.send("A.2")) == [("A.1", TRADE, 100), ("A.2", NEW, 0), ("A.2", TRADE, 20)]


def test_mark_when_the_input_brings_it_late_then_it_is_not_sold_again(floor: Floor) -> None:
    floor.show(ask=(1_000_000, 150), to_input=False)
    floor.send("A.1")
    floor.send("A.2")
    late = floor.make.mark(ask=(1_000_000, 150))
    assert floor.feed(late, 0) == []


def test_taken_size_is_remembered_while_the_global_copy_lags(floor: Floor) -> None:
    floor.show(ask=(1_000_000, 100))
    floor.send("A.1")
    floor.feed(floor.make.mark(ask=(1_000_000, 100)), 5)  # newer, but arriving orders are still shown offset 0
    assert _said(floor.send("A.2", time_in_force=TimeInForce.IOC)) == [("A.2", NEW, 0), ("A.2", CANCELED, 0)]


def test_mark_when_nothing_rests_then_no_row_is_left(floor: Floor) -> None:
    floor.show()
    floor.send("A.1")
    assert floor.bench.rows("books")
    floor.show()
    assert floor.bench.rows("books") == {}
    before = floor.bench.state()
    floor.show()
    floor.bench.handle(MD_MARKS, mark_clock_key(0).decode(), floor.make.mark(symbol="@0"))
    assert floor.bench.state() == before


def test_mark_when_bytes_are_no_mark_then_poison(floor: Floor) -> None:
    for value in (b"", b"garbage", floor.make.mark() * 2):
        with pytest.raises(ValueError, match="are no mark"):
            floor.bench.handle(MD_MARKS, "AAPL", value)


def test_order_when_on_the_wrong_partition_then_poison(floor: Floor) -> None:
    with pytest.raises(ValueError, match="does not belong on partition 0"):
        floor.send(instrument_id=9)


def test_closed_orders_are_forgotten_in_the_order_they_closed(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "CLOSED_REMEMBERED", 2)
    floor.send("A.0", limit_price_e4=1)
    for number in range(1, 5):
        floor.send(f"A.{number}", time_in_force=TimeInForce.IOC)
    assert sorted(floor.bench.rows("orders")) == [b"A.0", b"A.3", b"A.4"]


PRICE = st.integers(9, 12)
SIZE = st.integers(0, 6)
STEP = st.one_of(
    st.tuples(st.just("mark"), PRICE, SIZE, PRICE, SIZE, st.booleans(), st.sampled_from("TTTH")),
    st.tuples(
        st.just("order"),
        st.sampled_from(Side),
        PRICE,
        st.integers(1, 8),
        st.sampled_from(TimeInForce),
        st.none() | st.integers(1, 8),
    ),
    st.tuples(st.just("cancel"), st.integers(1, 20)),
)


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(STEP, max_size=40))
def test_no_mark_is_oversold_and_no_order_overfilled_after_any_history(make_once: Any, steps: list[Any]) -> None:
    """Marks may reach the stage's input late or never; every size is sold at most once all the same."""
    floor = Floor(make_once)
    sold: dict[tuple[Side, int], int] = {}
    shown: dict[Side, tuple[int, int]] = {}
    sent: dict[str, tuple[Side, int, int]] = {}
    filled: dict[str, int] = {}
    least: dict[str, int] = {}
    for number, step in enumerate(steps):
        match step:
            case "mark", bid, bid_size, ask, ask_size, to_input, state:
                shown = {Side.BUY: (ask, ask_size), Side.SELL: (bid, bid_size)}
                sold = {}
                reports = floor.show(bid=(bid, bid_size), ask=(ask, ask_size), to_input=to_input, state=state)
            case "order", side, limit, qty, time_in_force, min_qty:
                order_id = f"A.{len(sent) + 1}"
                sent[order_id] = (side, limit, qty)
                least[order_id] = qty if time_in_force is TimeInForce.FOK else min(min_qty or 1, qty)
                reports = floor.send(
                    order_id, side=side, limit_price_e4=limit, qty=qty, time_in_force=time_in_force,
                    min_qty=min(min_qty, qty) if min_qty and time_in_force in IMMEDIATE else None,
                    expire_ns=10**18 if time_in_force is TimeInForce.GTD else None,
                )  # fmt: skip
                if time_in_force in IMMEDIATE:
                    traded = sum(report.last_qty for report in reports if report.order_id == order_id)
                    assert traded == 0 or traded >= least[order_id]
                    assert reports[-1].leaves_qty == 0
            case "cancel", which:
                reports = floor.cancel(f"A.{which}", sent_ns=number)
        for report in (report for report in reports if report.exec_type is TRADE):
            side, limit, qty = sent[report.order_id]
            price, size = shown[side]
            assert report.last_price_e4 == price
            assert price <= limit if side is Side.BUY else price >= limit
            sold[side, price] = sold.get((side, price), 0) + report.last_qty
            filled[report.order_id] = filled.get(report.order_id, 0) + report.last_qty
            assert sold[side, price] <= size
            assert filled[report.order_id] == report.cum_qty == qty - report.leaves_qty
    _book_is_consistent(floor)


def _book_is_consistent(floor: Floor) -> None:
    orders, book = floor.bench.rows("orders"), floor.bench.rows("books").get(b"AAPL")
    resting = [orders[order_id.encode()] for order_id in floor.bench.rows("resting").values()]
    assert all(working.open and working.leaves_qty > 0 for working in resting)
    assert len(resting) == sum(working.open for working in orders.values()) == (book.resting if book else 0)
    limits = {side: [w.order.limit_price_e4 for w in resting if w.order.side is side] for side in Side}
    if book:
        assert book.best_buy_e4 == max(limits[Side.BUY], default=0)
        assert book.best_sell_e4 == min(limits[Side.SELL], default=0)
