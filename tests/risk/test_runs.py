"""Many intents at once against one by one: the same answers, byte for byte, the same rows, the same refusals."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from common.contracts.events import ExecType, Fund, OrderIntent, SetAccount
from common.contracts.market import mark_clock_key
from common.contracts.topics import ORDERS_EXECUTIONS, ORDERS_INTENTS, RISK_COMMANDS
from common.contracts.values import E4, INT64_MAX, OrderType, Side, TimeInForce
from common.testing.orders import NOW_NS, clock_row, fund, instrument, intent, mark_row, report, set_account
from hypothesis import given, settings
from hypothesis import strategies as st
from risk import stages
from risk.basis import BasisWriter
from risk.domain.gate import GATE, Limits
from risk.domain.intent_kernel import read_intents
from risk.domain.open_orders import LEVELS_MAX
from risk.runs import with_more
from risk.stages import Gate
from risk.tables import DAY_NS, TABLES, order_key
from risk.wire import decode_intent
from streams.model.message import Message
from streams.testing.tables import MemoryTables, Said, message, said_at_once, said_one_by_one

PARTITION = 2
LIMITS = Limits(
    order_qty_max=10**6,
    order_notional_max_e4=10**15,
    by_symbol={
        "LOTS": Limits(limit_collar_bps=0, market_collar_bps=0, order_qty_max=200, self_cross_denied=False),
        "DEAR": Limits(order_qty_max=INT64_MAX, order_notional_max_e4=INT64_MAX),
    },
)
NOT_PLAIN = (b'{"account_id": "a"}', b"", b"{", b"null", b"\xff")

accounts = st.sampled_from(("rich", "rich", "poor", "brim", "suspended", "nobody"))
symbols = st.sampled_from(
    ("ACME", "ACME", "LOTS", "DEAR", "HALTED", "STALE", "UNSEEN", "ONE.SIDED", "OTHER.SIDE", "NO.PRICE", "X")
)
quantities = st.one_of(
    st.integers(1, 400),
    st.sampled_from((-1, 0, 100, 200, 300, 9_999, 10_000, 10**6, 10**6 + 1, INT64_MAX, -INT64_MAX)),
)
BAND = tuple(price * 100 for price in (11_110, 11_111, 8_910, 8_909, 11_000, 11_001, 9_000, 8_999, 10_100, 9_900))
"""The collars of a quote of 99.00 to 101.00 and of a last sale at 100.00, each with the tick beyond it; the quote."""
prices = st.one_of(
    st.none(),
    st.integers(1, 300).map(lambda cents: cents * 100),
    st.integers(90, 110).map(lambda units: units * E4),
    st.sampled_from((-100, 0, 1, E4 + 1, INT64_MAX, INT64_MAX - 7, 9 * 10**18)),
    st.sampled_from(BAND),
)
plain = st.builds(
    OrderIntent,
    account_id=accounts,
    client_order_id=st.integers(0, 60).map(lambda number: f"o{number}"),
    symbol=symbols,
    side=st.sampled_from(Side),
    order_type=st.sampled_from((OrderType.LIMIT, OrderType.LIMIT, OrderType.MARKET)),
    time_in_force=st.sampled_from(TimeInForce),
    qty=quantities,
    limit_price_e4=prices,
    sent_ns=st.sampled_from((0, NOW_NS, INT64_MAX)),
    min_qty=st.sampled_from((None, None, None, None, -1, 0, 1, 10, INT64_MAX)),
    expire_ns=st.sampled_from((None, None, None, 0, NOW_NS, INT64_MAX)),
)
records = st.one_of(
    plain.map(lambda order: (order.account_id.encode(), order.model_dump_json(exclude_none=True).encode())),
    plain.map(lambda order: (order.account_id.encode(), order.model_dump_json(indent=1).encode())),
)


LISTED = ("ACME", "LOTS", "DEAR", "HALTED", "STALE", "UNSEEN", "ONE.SIDED", "OTHER.SIDE", "NO.PRICE")


def world(limits: Limits = LIMITS, says_basis: bool = False) -> tuple[Gate, MemoryTables]:
    """Accounts and a market of every kind."""
    tables = MemoryTables(TABLES, PARTITION)
    instruments, marks = tables.globals("instruments"), tables.globals("marks")
    for number, symbol in enumerate(LISTED):
        instruments.put(symbol.encode(), instrument(symbol, number, lot_size=100 if symbol == "LOTS" else 1))
    marks.put(mark_clock_key(0), clock_row(), 0)
    marks.put(mark_clock_key(1), clock_row(NOW_NS - 10**12), 1)
    for symbol, row in (
        ("ACME", mark_row("ACME")),
        ("LOTS", mark_row("LOTS")),
        ("DEAR", mark_row("DEAR", ask_e4=INT64_MAX, bid_e4=INT64_MAX)),
        ("HALTED", mark_row("HALTED", state="H")),
        ("ONE.SIDED", mark_row("ONE.SIDED", bid_e4=0)),
        ("OTHER.SIDE", mark_row("OTHER.SIDE", ask_e4=0)),
        ("NO.PRICE", mark_row("NO.PRICE", bid_e4=0, ask_e4=0, last_e4=0)),
    ):
        marks.put(symbol.encode(), row, 0)
    marks.put(b"STALE", mark_row("STALE"), 1)
    gate = Gate(limits, 7 * DAY_NS, basis=BasisWriter("1", GATE, limits) if says_basis else None)
    opening: tuple[SetAccount | Fund, ...] = (
        set_account("rich"),
        fund("rich", command_id="cash", cash_e4=10**14),
        *(fund("rich", command_id=symbol, symbol=symbol, qty=1_000) for symbol in ("ACME", "LOTS", "DEAR")),
        fund("rich", command_id="bidless", symbol="ONE.SIDED", qty=1_000),
        fund("rich", command_id="askless", symbol="OTHER.SIDE", qty=1_000),
        set_account("brim"),
        fund("brim", command_id="cash", cash_e4=INT64_MAX - 100 * 100 * 100 * E4),
        fund("brim", command_id="shares", symbol="ACME", qty=INT64_MAX - 100 * 100 * E4),
        fund("brim", command_id="lots", symbol="LOTS", qty=1_000),
        set_account("poor"),
        fund("poor", command_id="cash", cash_e4=3_000 * E4),
        fund("poor", command_id="shares", symbol="ACME", qty=20),
        set_account("suspended"),
        fund("suspended", command_id="cash", cash_e4=10**14),
        fund("suspended", command_id="shares", symbol="ACME", qty=1_000),
        set_account("suspended", active=False, command_id="stop"),
    )
    for offset, command in enumerate(opening):
        record = message(RISK_COMMANDS, command.account_id.encode(), command, partition=PARTITION, offset=offset)
        gate.handle(record, tables, NOW_NS)
    return gate, tables


def intents_of(values: Iterable[tuple[bytes | None, bytes | None]], begin: int = 100) -> list[Message]:
    return [
        Message(ORDERS_INTENTS, PARTITION, offset, key, value, 0) for offset, (key, value) in enumerate(values, begin)
    ]


def answers(handled: Iterable[Said]) -> tuple[list[Said], str]:
    """Answers to each message until one was refused, and why it was."""
    said: list[Said] = []
    try:
        for outputs in handled:
            said.append(outputs)  # noqa: PERF402  # what came before the error counts
    except Exception as error:
        return said, repr(error)
    return said, ""


def same_both_ways(
    *batches: Sequence[Message], limits: Limits = LIMITS, every_ns: int = 0, says_basis: bool = False
) -> list[Any]:
    """Holds the two ways to each other over batches one after the other; returns what was answered to the last one."""
    one, one_tables = world(limits, says_basis)
    many, many_tables = world(limits, says_basis)
    said: list[Any] = []
    for number, batch in enumerate(batches):
        now_ns = NOW_NS + number * every_ns
        expected = answers(said_one_by_one(one.handle, batch, one_tables, now_ns))
        assert answers(said_at_once(many.handle_batch, many.handle, batch, many_tables, now_ns)) == expected
        said, refused = expected
        if refused:
            return said  # the runtime discards what a batch wrote that has a message which is refused
        assert many_tables.rows() == one_tables.rows()
    return said


@pytest.fixture(autouse=True)
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "RUN_MIN", 2)


@settings(deadline=None, max_examples=300)
@given(first=st.lists(records, max_size=40), second=st.lists(records, max_size=20))
def test_run_when_any_intents_then_answered_as_one_by_one(first: Any, second: Any) -> None:
    same_both_ways(intents_of(first), intents_of(second, 200))


@st.composite
def resting(draw: st.DrawFn, prices: int) -> OrderIntent:
    """An order of one account in one symbol: at one of so many prices on a side that do not meet, or in the midst."""
    side = draw(st.sampled_from(Side))
    away = draw(st.integers(0, prices)) if draw(st.integers(0, 9)) else -draw(st.integers(1, 3))
    price_e4 = (99 * E4 - away * 100) if side is Side.BUY else (100 * E4 + away * 100)
    return intent(f"o{draw(st.integers(0, 10**6))}", "rich", side=side, qty=1, limit_price_e4=price_e4)


def value_of(order: OrderIntent) -> tuple[bytes, bytes]:
    return order.account_id.encode(), order.model_dump_json(exclude_none=True).encode()


@settings(deadline=None, max_examples=100)
@given(data=st.data(), prices=st.sampled_from((3, LEVELS_MAX - 1, 2 * LEVELS_MAX)))
def test_run_when_orders_rest_and_end_then_prices_are_counted_as_one_by_one(data: Any, prices: int) -> None:
    """Fewer prices than levels are kept, just as many, and more."""
    orders = data.draw(st.lists(resting(prices), max_size=3 * LEVELS_MAX))
    first, second = intents_of(map(value_of, orders)), data.draw(st.lists(resting(prices), max_size=20))
    taken = [order for order, outputs in zip(orders, same_both_ways(first), strict=True) if len(outputs) == 2]
    ends = data.draw(
        st.lists(st.sampled_from(taken), unique_by=lambda order: order.client_order_id) if taken else st.just([])
    )
    reports = [report(order, ExecType.CANCELED, f"x{order.client_order_id}") for order in ends]
    executions = [
        message(ORDERS_EXECUTIONS, b"rich", each, partition=PARTITION, offset=at) for at, each in enumerate(reports)
    ]
    same_both_ways(first, executions, intents_of(map(value_of, second), 500))


@pytest.mark.parametrize("side", Side)
def test_run_when_more_prices_than_levels_then_merged_as_one_by_one(side: Side) -> None:
    """In either order and from the middle."""
    ticks = [*range(40, 0, -1), *range(41, 60), *range(60)]
    sign = -1 if side is Side.BUY else 1
    orders = [
        intent(f"o{at}", "rich", side=side, qty=1, limit_price_e4=100 * E4 + sign * (100 + tick * 100))
        for at, tick in enumerate(ticks)
    ]
    said = same_both_ways(intents_of(map(value_of, orders[:70])), intents_of(map(value_of, orders[70:]), 300))
    assert {len(outputs) for outputs in said} == {2}


@pytest.mark.parametrize(
    ("first", "second", "accepted"),
    [
        (("rich", Side.BUY, 1_111_000, 1), ("rich", Side.BUY, 1_111_100, 1), [2, 1]),
        (("rich", Side.SELL, 891_000, 1), ("rich", Side.SELL, 890_900, 1), [2, 1]),
        (("rich", Side.BUY, 100, 10**6), ("rich", Side.BUY, 100, 10**6 + 1), [2, 1]),
        (("rich", Side.SELL, 1_010_000, 1), ("rich", Side.BUY, 1_009_900, 1), [2, 2]),
        (("rich", Side.SELL, 1_010_000, 1), ("rich", Side.BUY, 1_010_000, 1), [2, 1]),
        (("rich", Side.BUY, 1_010_000, 1), ("rich", Side.SELL, 1_010_000, 1), [2, 1]),
        (("brim", Side.SELL, 1_000_000, 99), ("brim", Side.SELL, 1_000_000, 1), [2, 2]),
        (("brim", Side.SELL, 1_000_000, 99), ("brim", Side.SELL, 1_000_000, 2), [2, 1]),
        (("brim", Side.BUY, 1_000_000, 99), ("brim", Side.BUY, 1_000_000, 10**6), [2, 2]),
        (("brim", Side.BUY, 1_000_000, 100), ("brim", Side.BUY, 1_000_000, 1), [2, 1]),
    ],
)
def test_run_when_an_order_is_at_a_limit_then_accepted_and_one_beyond_it_denied(
    first: tuple[str, Side, int, int], second: tuple[str, Side, int, int], accepted: list[int]
) -> None:
    orders = [
        intent(f"o{at}", account_id, side=side, limit_price_e4=price_e4, qty=qty)
        for at, (account_id, side, price_e4, qty) in enumerate((first, second))
    ]
    assert [len(outputs) for outputs in same_both_ways(intents_of(map(value_of, orders)))] == accepted


@settings(deadline=None)
@given(sound=st.lists(records, min_size=1, max_size=20), refused=st.sampled_from(NOT_PLAIN), at=st.integers(0, 20))
def test_run_when_one_is_no_intent_then_refused_at_its_place(sound: Any, refused: bytes, at: int) -> None:
    batch = intents_of([*sound[:at], (b"rich", refused), *sound[at:]])
    assert len(same_both_ways(batch)) == min(at, len(sound))


@pytest.mark.parametrize("key", [None, b"", b"poor", b"ric", b"richer"])
def test_run_when_a_key_is_not_the_account_then_refused_at_its_place(key: bytes | None) -> None:
    value = intent("o1", "rich").model_dump_json(exclude_none=True).encode()
    other = intent("o2", "rich").model_dump_json(exclude_none=True).encode()
    assert len(same_both_ways(intents_of([(b"rich", value), (b"rich", other), (key, value), (b"rich", other)]))) == 2


def test_run_when_a_record_has_no_value_then_refused_at_its_place() -> None:
    value = intent("o1", "rich").model_dump_json(exclude_none=True).encode()
    assert len(same_both_ways(intents_of([(b"rich", value), (b"rich", None)]))) == 1


def test_run_when_commands_stand_between_then_each_in_its_turn() -> None:
    """The batch that the runtime makes has each topic's messages together."""
    before = intents_of(
        (b"nobody", intent(f"o{n}", "nobody").model_dump_json(exclude_none=True).encode()) for n in range(3)
    )
    opens = [message(RISK_COMMANDS, b"nobody", set_account("nobody"), partition=PARTITION, offset=50)]
    after = intents_of(
        ((b"nobody", intent(f"p{n}", "nobody").model_dump_json(exclude_none=True).encode()) for n in range(3)), 300
    )
    said = same_both_ways([*before, *opens, *after])
    assert [len(each) for each in said] == [1] * 7


@pytest.mark.parametrize("room", [0, 2, 3, 9])
def test_text_when_it_has_the_room_or_not_then_more_stands_behind_what_counts(room: int) -> None:
    text = np.frombuffer(b"abc" + b"." * room, np.uint8).copy()
    assert with_more(text, 3, np.frombuffer(b"def", np.uint8))[:6].tobytes() == b"abcdef"


def test_run_when_cash_runs_out_then_the_rest_is_denied_with_what_was_left() -> None:
    buys = [intent(f"o{n}", "poor", qty=10, limit_price_e4=99 * E4) for n in range(5)]
    said = same_both_ways(intents_of((b"poor", buy.model_dump_json(exclude_none=True).encode()) for buy in buys))
    assert [len(outputs) for outputs in said] == [2, 2, 2, 1, 1]
    assert b'"available_cash_e4":300000,' in said[3][0][3]


def test_run_when_shares_are_sold_to_the_last_then_one_more_is_denied() -> None:
    sells = [intent(f"o{n}", "poor", side=Side.SELL, qty=qty) for n, qty in enumerate((19, 1, 1))]
    said = same_both_ways(intents_of((b"poor", sell.model_dump_json(exclude_none=True).encode()) for sell in sells))
    assert [len(outputs) for outputs in said] == [2, 2, 1]


def test_run_when_an_order_is_worth_the_limit_then_accepted_and_beyond_it_denied() -> None:
    """Each of the two beyond it alone: by a share, and by a tick."""
    orders = [(1_000, 10**12), (1_001, 10**12), (1_000, 10**12 + 100)]
    sells = [
        intent(f"o{n}", "rich", side=Side.SELL, qty=qty // 100, limit_price_e4=price * 100)
        for n, (qty, price) in enumerate(orders)
    ]
    said = same_both_ways(intents_of((b"rich", sell.model_dump_json(exclude_none=True).encode()) for sell in sells))
    assert [len(outputs) for outputs in said] == [2, 2, 1]
    sells[1] = sells[1].model_copy(update={"client_order_id": "o9", "qty": 11})
    said = same_both_ways(intents_of((b"rich", sell.model_dump_json(exclude_none=True).encode()) for sell in sells))
    assert [len(outputs) for outputs in said] == [2, 1, 1]


def test_run_when_the_account_is_suspended_then_its_money_does_not_help() -> None:
    orders = [intent(f"o{n}", "suspended", side=side, qty=1) for n, side in enumerate(Side)]
    said = same_both_ways(
        intents_of((b"suspended", order.model_dump_json(exclude_none=True).encode()) for order in orders)
    )
    assert [len(outputs) for outputs in said] == [1, 1]


@pytest.mark.parametrize(
    ("part", "other"),
    [
        (b'"qty":10', b'"qty":010'),
        (b'"qty":10', b'"qty":-0'),
        (b'"qty":10', b'"qty":+10'),
        (b'"qty":10', b'"qty":10.0'),
        (b'"qty":10', b'"qty":1e1'),
        (b'"qty":10', b'"qty":'),
        (b'"qty":10', b'"qty":-'),
        (b'"qty":10', b'"qty":9223372036854775808'),
        (b'"qty":10', b'"qty":-9223372036854775808'),
        (b'"qty":10', b'"qty":18446744073709551626'),
        (b'"qty":10', b'"qty":10000000000000000000000'),
        (b'"sent_ns":1', b'"sent_ns":-1'),
        (b'"sent_ns":1', b'"sent_ns":01'),
        (b'"symbol":"ACME"', b'"symbol":".CME"'),
        (b'"symbol":"ACME"', b'"symbol":""'),
        (b'"symbol":"ACME"', b'"symbol":"SEVENTEENLETTERS1"'),
        (b'"symbol":"ACME"', b'"symbol":"Acme"'),
        (b'"client_order_id":"o1"', b'"client_order_id":""'),
        (b'"client_order_id":"o1"', b'"client_order_id":"%b"' % (b"o" * 65)),
        (b'"client_order_id":"o1"', b'"client_order_id":"o.1"'),
        (b'"side":"B"', b'"side":"X"'),
        (b'"order_type":"LIMIT"', b'"order_type":"STOP"'),
        (b'"time_in_force":"DAY"', b'"time_in_force":"GTX"'),
        (b'"sent_ns":1', b'"sent_ns":1,"min_qty":null'),
        (b'"sent_ns":1', b'"sent_ns":1,"min_qty":01'),
        (b'"sent_ns":1', b'"sent_ns":1,"expire_ns":-1'),
        (b'"sent_ns":1', b'"expire_ns":1,"sent_ns":1'),
        (b'"sent_ns":1', b'"sent_ns":1,"expire_ns":1,"min_qty":1'),
        (b'"time_in_force":"DAY",', b""),
        (b"}", b"} "),
        (b"}", b"}}"),
        (b"}", b""),
        (b"}", b',"more":1}'),
        (b'{"', b' {"'),
    ],
)
def test_reader_when_one_part_is_written_otherwise_then_it_is_not_plain(part: bytes, other: bytes) -> None:
    value = intent("o1", "rich", sent_ns=1).model_dump_json(exclude_none=True).encode()
    assert read_intents([value], [b"rich"]).rows["plain"][0]
    assert value.count(part) == 1
    assert not read_intents([value.replace(part, other)], [b"rich"]).rows["plain"][0]
    following = intent("o2", "rich").model_dump_json(exclude_none=True).encode()
    same_both_ways(intents_of([(b"rich", each) for each in (following, value.replace(part, other), following)]))


@pytest.mark.parametrize("number", [0, 1, -1, 10, INT64_MAX, -INT64_MAX, 10**18])
def test_reader_when_a_number_is_any_that_fits_then_it_is_read(number: int) -> None:
    said = {
        "qty": number,
        "limit_price_e4": number,
        "sent_ns": abs(number),
        "min_qty": number,
        "expire_ns": abs(number),
    }
    value = intent("o1", "rich", **said).model_dump_json(exclude_none=True).encode()
    row = read_intents([value], [b"rich"]).rows[0]
    assert row["plain"] and {name: row[name] for name in said} == said
    assert row["has_min"] and row["expires"]


words = st.text('abzAZ09_-.+ "\\é', min_size=0, max_size=70)


@given(
    account=words,
    client=words,
    symbol=st.text('AZ09.+=^#*/$!~%@-a"', max_size=18),
    qty=st.text("0123456789-+.e", max_size=21),
)
def test_reader_when_text_is_anything_then_plain_only_if_it_is_its_own_encoding(
    account: str, client: str, symbol: str, qty: str
) -> None:
    value = (
        f'{{"account_id":"{account}","client_order_id":"{client}","symbol":"{symbol}","side":"B","order_type":"LIMIT",'
        f'"time_in_force":"DAY","qty":{qty},"limit_price_e4":1000000,"sent_ns":1}}'
    ).encode()
    read = read_intents([value], [account.encode()])
    try:
        decoded = OrderIntent(**{name: getattr(decode_intent(value), name) for name in OrderIntent.model_fields})
    except ValueError:
        assert not read.rows["plain"][0]
        return
    assert bool(read.rows["plain"][0]) == (decoded.model_dump_json(exclude_none=True).encode() == value)
    if read.rows["plain"][0]:
        assert read.symbols == [symbol.encode()]
        assert read.row_keys == [order_key(f"{account}.{client}")]
        assert read.rows["qty"][0] == decoded.qty
