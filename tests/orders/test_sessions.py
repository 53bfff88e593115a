"""The end of a session: which close an order is for, and that nothing of it trades or rests after it."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from common.contracts.events import ExecType, ExecutionReport
from common.contracts.market import MARK, decode_rows, mark_clock_key
from common.contracts.topics import MD_MARKS, ORDERS_EXECUTIONS, VENUE_ORDERS
from common.contracts.values import SelfMatch, Side, TimeInForce
from hypothesis import given, settings
from hypothesis import strategies as st
from orders.domain.venue import DAY_NS, Mark, Market, accept, trade
from orders.venue import rows, sessions, stage
from orders.venue.calendar_file import load_calendar

NEW_YORK = ZoneInfo("America/New_York")
XNAS = load_calendar("XNAS")
EXPIRED, NEW, TRADE = ExecType.EXPIRED, ExecType.NEW, ExecType.TRADE


def at(text: str) -> int:
    """New York time as ns since the epoch."""
    return int(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("now", "close"),
    [
        ("2019-12-30 09:31", "2019-12-30 16:00"),
        ("2019-12-30 04:00", "2019-12-30 16:00"),
        ("2019-12-30 16:00", "2019-12-31 16:00"),
        ("2019-12-31 19:59", "2020-01-02 16:00"),  # New Year
        ("2020-01-03 17:00", "2020-01-06 16:00"),  # the weekend
        ("2019-12-24 12:59", "2019-12-24 13:00"),  # a half day
        ("2019-12-24 13:00", "2019-12-26 16:00"),
        ("2021-03-12 17:00", "2021-03-15 16:00"),  # the clocks go forward in between
        ("2026-11-29 10:00", "2026-11-29 16:00"),  # a Sunday on which the exchange's clock runs
    ],
)
def test_session_of_a_time_ends_at_the_next_close(now: str, close: str) -> None:
    session = XNAS.session_at(at(now))
    assert session.close_ns == at(close)
    assert session.contains(at(now))


@settings(max_examples=300, deadline=None)
@given(event_ns=st.integers(at("2005-01-01 00:00"), at("2030-06-01 00:00")))
def test_sessions_cover_all_time_without_overlap(event_ns: int) -> None:
    session = XNAS.session_at(event_ns)
    assert session.begin_ns <= event_ns < session.end_ns <= session.close_ns
    assert XNAS.session_at(session.begin_ns) == session == XNAS.session_at(session.end_ns - 1)
    assert XNAS.session_at(session.end_ns).begin_ns == session.end_ns


def test_calendar_when_it_is_a_file_then_read_from_there(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"timezone": "UTC", "close": "09:40:30"}))
    day_ns = at("2020-06-01 00:00") // DAY_NS * DAY_NS
    assert load_calendar(str(file)).session_at(day_ns).close_ns == day_ns + (9 * 3_600 + 40 * 60 + 30) * 10**9
    for name in ("XNOWHERE", str(tmp_path / "none.json")):
        with pytest.raises(ValueError, match="no "):
            load_calendar(name)


# --- the venue -----------------------------------------------------------------------------------------------------


class Floor:
    """The venue stage with the exchange's time: clock rows reach the global table, and the input unless held back."""

    def __init__(self, make: Any) -> None:
        self.make = make
        self.bench = make.bench(stage.Venue(XNAS).handle, rows.TABLES)

    def clock(self, text: str, *, to_input: bool = True) -> list[ExecutionReport]:
        return self.show(mark_clock_key(0), self.make.clock(at(text)), to_input)

    def mark(self, text: str, symbol: str = "AAPL", **mark: Any) -> list[ExecutionReport]:
        return self.show(symbol.encode(), self.make.mark(event_ns=at(text), symbol=symbol, **mark), True)

    def send(self, order_id: str = "A.1", **order: Any) -> list[ExecutionReport]:
        body = self.make.venue_order(order_id, **order)
        return self._reports(self.bench.handle(VENUE_ORDERS, body.symbol, body))

    def show(self, key: bytes, value: bytes, to_input: bool) -> list[ExecutionReport]:
        shown = self.bench.tables.globals("marks")
        shown.put(key, decode_rows(MARK, value))
        if not to_input:
            return []
        return self._reports(self.bench.handle(MD_MARKS, key.decode(), value, shown.get(key).offset))

    def _reports(self, handled: Any) -> list[ExecutionReport]:
        reports: list[ExecutionReport] = self.make.bodies(handled, ORDERS_EXECUTIONS)
        return reports

    def resting(self) -> set[str]:
        return set(self.bench.rows("resting").values())


@pytest.fixture
def floor(make: Any) -> Floor:
    floor = Floor(make)
    floor.clock("2019-12-30 10:00")
    floor.mark("2019-12-30 10:00", ask=(1_010_000, 60))
    return floor


def _said(reports: list[ExecutionReport]) -> list[tuple[str, ExecType, int]]:
    return [(report.order_id, report.exec_type, report.leaves_qty) for report in reports]


def test_day_order_when_the_close_comes_then_it_expires_although_its_symbol_is_quiet(floor: Floor) -> None:
    floor.send("A.1")
    floor.mark("2019-12-30 10:01", ask=(1_000_000, 30))
    assert _said(floor.clock("2019-12-30 15:59:59")) == []
    (report,) = floor.clock("2019-12-30 16:00")
    assert (report.exec_type, report.cum_qty, report.leaves_qty) == (EXPIRED, 30, 0)
    assert report.text == "the session has ended"
    assert floor.resting() == set()
    assert floor.clock("2019-12-30 16:00:01") == []
    assert floor.mark("2019-12-31 09:30", ask=(1, 1_000)) == []


def test_day_order_when_the_next_days_mark_comes_first_then_it_expires_before_it_trades(floor: Floor) -> None:
    """A feed that broke off at noon and is back five days later, below every limit."""
    for order_id, side in (("A.1", Side.BUY), ("A.2", Side.BUY), ("A.3", Side.SELL)):
        floor.send(order_id, side=side, limit_price_e4=1_000_000 if side is Side.BUY else 1_020_000)
    reports = floor.mark("2020-01-06 09:30", ask=(800_000, 1_000), bid=(790_000, 100))
    assert _said(reports) == [("A.1", EXPIRED, 0), ("A.2", EXPIRED, 0)]
    assert _said(floor.send("A.4", limit_price_e4=800_000)) == [("A.4", NEW, 100), ("A.4", TRADE, 0)]
    assert _said(floor.clock("2020-01-06 09:30")) == [("A.3", EXPIRED, 0)]


def test_day_order_when_an_order_is_first_to_see_the_next_day_then_it_expires_all_the_same(floor: Floor) -> None:
    floor.send("A.1")
    floor.bench.tables.globals("marks").put(
        b"AAPL", decode_rows(MARK, floor.make.mark(ask=(900_000, 100), event_ns=at("2019-12-31 09:31")))
    )
    reports = floor.send("A.2")
    assert _said(reports) == [("A.1", EXPIRED, 0), ("A.2", NEW, 100), ("A.2", TRADE, 0)]


def test_gtc_order_when_sessions_end_then_it_rests_and_trades_days_later(floor: Floor) -> None:
    floor.send("A.1", time_in_force=TimeInForce.GTC)
    floor.send("A.2", limit_price_e4=990_000)
    assert _said(floor.clock("2019-12-30 16:00")) == [("A.2", EXPIRED, 0)]
    assert floor.clock("2020-01-02 16:00") == []
    assert floor.resting() == {"A.1"}
    assert _said(floor.mark("2020-01-06 09:30", ask=(1_000_000, 60))) == [("A.1", TRADE, 40)]
    assert _said(floor.mark("2020-01-07 09:30", ask=(1_000_000, 60))) == [("A.1", TRADE, 0)]


def test_gtd_order_when_its_time_comes_then_it_expires_although_its_symbol_is_quiet(floor: Floor) -> None:
    expire_ns = at("2020-01-03 11:00")
    floor.send("A.1", time_in_force=TimeInForce.GTD, expire_ns=expire_ns)
    floor.send("A.2", time_in_force=TimeInForce.GTD, expire_ns=expire_ns + 1)
    floor.mark("2019-12-30 10:01", ask=(1_000_000, 30))
    for text in ("2019-12-30 16:00", "2020-01-02 16:00", "2020-01-03 10:59:59.999999"):
        assert floor.clock(text) == []
    (report,) = floor.clock("2020-01-03 11:00")
    assert (report.order_id, report.exec_type, report.cum_qty, report.leaves_qty) == ("A.1", EXPIRED, 30, 0)
    assert report.text == "its time has come"
    assert floor.resting() == {"A.2"}
    assert _said(floor.clock("2020-01-03 11:00:01")) == [("A.2", EXPIRED, 0)]
    assert floor.bench.rows("expiries") == {} and floor.resting() == set()


def test_gtd_order_when_a_mark_of_its_time_comes_first_then_it_expires_before_it_trades(floor: Floor) -> None:
    floor.send("A.1", time_in_force=TimeInForce.GTD, expire_ns=at("2019-12-30 11:00"))
    assert _said(floor.mark("2019-12-30 11:00", ask=(900_000, 500))) == [("A.1", EXPIRED, 0)]
    assert floor.clock("2019-12-30 11:00") == []


@pytest.mark.parametrize("to_input", [True, False])
def test_gtd_order_when_its_time_came_on_the_way_then_it_trades_nothing_and_expires(
    floor: Floor, to_input: bool
) -> None:
    """The symbol has been quiet since its offer: only the clock tells the time."""
    floor.mark("2019-12-30 10:30", ask=(1_000_000, 500))
    floor.clock("2019-12-30 11:00", to_input=to_input)
    own = {"time_in_force": TimeInForce.GTD, "self_match": SelfMatch.CANCEL_OLDEST}
    assert _said(floor.send("A.1", expire_ns=at("2019-12-30 11:00"), **own)) == [("A.1", NEW, 100), ("A.1", EXPIRED, 0)]
    assert _said(floor.send("A.2", expire_ns=at("2019-12-30 11:00") + 1, **own)) == [
        ("A.2", NEW, 100), ("A.2", TRADE, 0),
    ]  # fmt: skip
    assert floor.bench.rows("expiries") == {}


def test_gtd_order_when_filled_or_canceled_then_nothing_waits_for_its_time(floor: Floor) -> None:
    for order_id in ("A.1", "A.2"):
        floor.send(order_id, time_in_force=TimeInForce.GTD, expire_ns=at("2019-12-30 11:00"))
    assert len(floor.bench.rows("expiries")) == 2
    floor.bench.handle(VENUE_ORDERS, "AAPL", floor.make.venue_cancel("A.1"))
    floor.mark("2019-12-30 10:05", ask=(1_000_000, 100))
    assert floor.bench.rows("expiries") == {}
    assert floor.clock("2019-12-30 11:00") == []


def test_expiries_are_spread_over_clock_rows(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "EXPIRED_AT_ONCE", 2)
    for number, symbol in enumerate(("AAPL", "BBB", "CCC")):
        expire_ns = at("2019-12-30 11:00") - number
        floor.send(f"A.{number}", symbol=symbol, time_in_force=TimeInForce.GTD, expire_ns=expire_ns)
    assert [report.symbol for report in floor.clock("2019-12-30 11:00")] == ["CCC", "BBB"]
    assert [report.symbol for report in floor.clock("2019-12-30 11:00:01")] == ["AAPL"]


LIVES = st.tuples(
    st.sampled_from(TimeInForce), st.integers(1, 9), st.sampled_from((1_000_000, 1_010_000)), st.sampled_from("AB")
)
HOURS = st.one_of(
    st.tuples(st.just("send"), LIVES), st.tuples(st.just("clock"), st.integers(0, 9), st.booleans()),
    st.tuples(st.just("mark"), st.integers(0, 9), st.integers(0, 150)), st.tuples(st.just("cancel"), st.integers(0, 9)),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(HOURS, max_size=25))
def test_no_order_rests_or_trades_after_its_time_whatever_happens(make_once: Any, steps: list[Any]) -> None:
    """Half days pass. What rests after a clock row has time left; what never ends by time never expires."""
    begin_ns = at("2019-12-30 10:00")
    floor, now_ns = Floor(make_once), begin_ns
    expire_ns: dict[str, int | None] = {}
    time_of: dict[str, TimeInForce] = {}
    floor.clock("2019-12-30 10:00")
    for step in steps:
        reports: list[ExecutionReport] = []
        match step:
            case "send", (time_in_force, halves, limit_price_e4, account_id):
                order_id = f"{account_id}.{len(time_of)}"
                time_of[order_id] = time_in_force
                expire_ns[order_id] = begin_ns + halves * DAY_NS // 2 if time_in_force is TimeInForce.GTD else None
                kind = {"time_in_force": time_in_force, "expire_ns": expire_ns[order_id]}
                reports = floor.send(order_id, limit_price_e4=limit_price_e4, **kind)
            case "clock", halves, to_input:
                now_ns = max(now_ns, begin_ns + halves * DAY_NS // 2)
                reports = floor.show(mark_clock_key(0), floor.make.clock(now_ns), to_input)
                late = {each for each in floor.resting() if (expire_ns[each] or now_ns + 1) <= now_ns}
                assert not (to_input and late)
            case "mark", halves, size:
                now_ns = max(now_ns, begin_ns + halves * DAY_NS // 2)
                value = floor.make.mark(event_ns=now_ns, symbol="AAPL", ask=(1_000_000, size))
                reports = floor.show(b"AAPL", value, True)
            case "cancel", number:
                floor.bench.handle(VENUE_ORDERS, "AAPL", floor.make.venue_cancel(f"A.{number}"))
        for report in reports:
            until = expire_ns[report.order_id]
            assert report.exec_type is not TRADE or until is None or now_ns < until
            assert report.exec_type is not EXPIRED or time_of[report.order_id] in (TimeInForce.DAY, TimeInForce.GTD)
    dated = {order_id for order_id in floor.resting() if expire_ns[order_id] is not None}
    assert set(floor.bench.rows("expiries").values()) == dated


def test_order_when_it_comes_after_the_close_then_it_is_for_the_next_session(floor: Floor) -> None:
    floor.clock("2019-12-30 16:00")
    floor.send("A.1")
    assert floor.clock("2019-12-31 00:00") == []
    assert _said(floor.mark("2019-12-31 09:30", ask=(1_000_000, 60))) == [("A.1", TRADE, 40)]
    assert _said(floor.clock("2019-12-31 16:00")) == [("A.1", EXPIRED, 0)]


def test_order_when_the_clock_row_is_not_read_yet_then_the_newest_time_counts(floor: Floor) -> None:
    floor.clock("2019-12-30 16:00:01", to_input=False)
    floor.send("A.1")
    assert floor.clock("2019-12-30 16:00:02") == []
    assert floor.resting() == {"A.1"}


def test_orders_when_the_feed_goes_back_to_an_earlier_day_then_they_expire(floor: Floor) -> None:
    floor.send("A.1")
    assert _said(floor.clock("2012-06-21 09:30")) == [("A.1", EXPIRED, 0)]


def test_close_is_spread_over_clock_rows(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "EXPIRED_AT_ONCE", 2)
    for number, symbol in enumerate(("AAPL", "AAPL", "AAPL", "BBB", "CCC")):
        floor.send(f"A.{number}", symbol=symbol)
    first = floor.clock("2019-12-30 16:00")
    assert {report.symbol for report in first} == {"AAPL"} and len(first) == 3
    floor.send("A.next", symbol="AAPL")
    assert [report.symbol for report in floor.clock("2019-12-30 16:00:01")] == ["BBB", "CCC"]
    assert floor.clock("2019-12-30 16:00:02") == []
    assert floor.resting() == {"A.next"}
    assert _said(floor.clock("2019-12-31 16:00")) == [("A.next", EXPIRED, 0)]


def test_books_are_right_after_an_expiry(floor: Floor) -> None:
    floor.send("A.1")
    floor.clock("2019-12-30 16:00")
    floor.send("A.2", limit_price_e4=990_000)
    floor.send("A.3", side=Side.SELL, limit_price_e4=1_020_000)
    book = floor.bench.rows("books")[b"AAPL"]
    assert (book.resting, book.best_buy_e4, book.best_sell_e4) == (2, 990_000, 1_020_000)


def test_order_that_came_before_any_clock_ends_at_the_first_close_it_meets(make: Any) -> None:
    floor = Floor(make)
    floor.send("A.1")
    assert floor.clock("2019-12-30 10:00") == []
    assert _said(floor.clock("2019-12-30 16:00")) == [("A.1", EXPIRED, 0)]


def test_order_of_no_known_session_when_a_day_has_passed_then_nothing_trades(make: Any) -> None:
    working, _ = accept(make.venue_order(limit_price_e4=1_000_000), 1, 1)
    cheap = Market(Mark(2, ord("T"), 790_000, 100, 800_000, 100))
    assert trade(working, cheap, DAY_NS)[2] is not None
    assert trade(working, cheap, 1 + DAY_NS)[2] is None


def test_order_in_a_store_of_before_ends_with_the_session_it_is_found_in(floor: Floor) -> None:
    floor.send("A.1")
    orders = floor.bench.tables.changelogged("orders")
    row = json.loads(orders.rows[b"A.1"])
    del row["close_ns"], row["accepted_ns"]
    orders.rows[b"A.1"] = json.dumps(row).encode()
    book = json.loads(floor.bench.tables.changelogged("books").rows[b"AAPL"])
    book["market"]["mark"] = book["market"]["mark"][:6]
    floor.bench.tables.changelogged("books").rows[b"AAPL"] = json.dumps(book).encode()
    assert _said(floor.mark("2019-12-30 10:01", ask=(1_000_000, 30))) == [("A.1", TRADE, 70)]
    assert _said(floor.clock("2019-12-30 16:00")) == [("A.1", EXPIRED, 0)]
