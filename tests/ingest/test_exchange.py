"""The synthetic exchange writes valid, consistent ITCH, and the same bytes for the same seed."""

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest
from common.contracts.ticks import TickFlag, TickKind
from ingest.domain.anomalies import Report
from ingest.domain.exchange import ExchangeOptions, alias_table, exchange_chunks, symbol_names
from ingest.domain.framing import Framer
from ingest.domain.instruments import InstrumentRegistry
from ingest.domain.itch import Decoder
from itchcpp.book import BookManager
from itchcpp.parser import MessageParser

BUSY = ExchangeOptions(
    symbols=40, seed=7, rate=10_000, messages=60_000, halts_per_million=900, breaks_per_million=900, halt_s=1
)
GOLDEN = "2117f36191dc55ce500ecd5f4b334521604475bee89f725b2277c250c9398385"


def _bytes(options: ExchangeOptions, chunk_bytes: int = 1 << 20) -> bytes:
    return b"".join(exchange_chunks(options, chunk_bytes))


def _decode(stream: bytes) -> tuple[Any, Report, Decoder]:
    report = Report()
    decoder = Decoder(0, InstrumentRegistry(), report)
    framer = Framer(report)
    (block,) = framer.feed(stream)
    ticks = decoder.decode(block)
    framer.finish()
    return ticks, report, decoder


@dataclass
class _Order:
    instrument: int
    side: int
    price: int
    shares: int


@dataclass
class Referee:
    """Follows a day with plain dictionaries and fails at the first thing an exchange does not do."""

    orders: dict[int, _Order] = field(default_factory=dict)
    sides: defaultdict[tuple[int, int], set[int]] = field(default_factory=lambda: defaultdict(set))
    state: dict[int, int] = field(default_factory=dict)
    trading: bool = False
    matches: set[int] = field(default_factory=set)
    broken: set[int] = field(default_factory=set)
    breakable: dict[int, int] = field(default_factory=dict)
    last_ns: int = 0
    seen: Counter[str] = field(default_factory=Counter)

    def side(self, instrument: int, side: int) -> list[tuple[int, int]]:
        """(price, reference), the next to trade first."""
        sign = -1 if side == ord("B") else 1
        rows = ((self.orders[ref].price, ref) for ref in self.sides[instrument, side])
        return sorted(rows, key=lambda row: (sign * row[0], row[1]))

    def assert_uncrossed(self, instrument: int) -> None:
        bids, asks = self.side(instrument, ord("B")), self.side(instrument, ord("S"))
        assert not bids or not asks or bids[0][0] < asks[0][0]

    def add(self, ref: int, order: _Order) -> None:
        assert ref not in self.orders
        assert order.shares > 0
        assert order.price > 0
        assert order.price % 100 == 0
        self.orders[ref] = order
        self.sides[order.instrument, order.side].add(ref)
        self.assert_uncrossed(order.instrument)

    def remove(self, ref: int) -> _Order:
        order = self.orders.pop(ref)
        self.sides[order.instrument, order.side].remove(ref)
        return order

    def take(self, ref: int, shares: int, *, must_be_front: bool) -> _Order:
        order = self.orders[ref]
        assert 0 < shares <= order.shares
        if must_be_front:
            assert self.side(order.instrument, order.side)[0] == (order.price, ref)
        order.shares -= shares
        if not order.shares:
            self.remove(ref)
        return order

    def match(self, number: int, instrument: int, *, printable: bool) -> None:
        assert number not in self.matches
        self.matches.add(number)
        if printable:
            self.breakable[number] = instrument

    def apply(self, tick: Any) -> None:
        kind, ref, instrument = TickKind(int(tick["kind"])), int(tick["order_ref"]), int(tick["instrument_id"])
        aux, price, shares = int(tick["aux_ref"]), int(tick["price_e4"]), int(tick["qty"])
        printable = bool(tick["flags"] & TickFlag.PRINTABLE)
        assert tick["event_ns"] >= self.last_ns
        self.last_ns = int(tick["event_ns"])
        self.seen[kind.name] += 1
        if kind is TickKind.SYSTEM_EVENT:
            self.trading = {ord("Q"): True, ord("M"): False}.get(int(tick["detail"]), self.trading)
        elif kind is TickKind.TRADING_ACTION:
            self.state[instrument] = int(tick["detail"])
        elif kind in (TickKind.ADD, TickKind.ADD_WITH_MPID):
            self.add(ref, _Order(instrument, int(tick["side"]), price, shares))
        elif kind is TickKind.DELETE:
            assert self.remove(ref).instrument == instrument
        elif kind is TickKind.CANCEL:
            assert shares < self.orders[ref].shares
            self.take(ref, shares, must_be_front=False)
        elif kind is TickKind.REPLACE:
            old = self.remove(ref)
            assert aux > ref
            self.add(aux, _Order(instrument, old.side, price, shares))
        else:
            self.trade(kind, instrument, ref, aux, price, shares, printable)

    def trade(self, kind: Any, instrument: int, ref: int, aux: int, price: int, shares: int, printable: bool) -> None:
        if kind in (TickKind.EXECUTED, TickKind.EXECUTED_WITH_PRICE, TickKind.TRADE, TickKind.CROSS_TRADE):
            assert self.trading
            assert self.state[instrument] == ord("T")
            self.match(aux, instrument, printable=printable and kind is not TickKind.CROSS_TRADE)
        if kind in (TickKind.EXECUTED, TickKind.EXECUTED_WITH_PRICE):
            order = self.take(ref, shares, must_be_front=True)
            assert order.instrument == instrument
            self.seen[f"{kind.name} {'printable' if printable else 'silent'}"] += 1
        elif kind is TickKind.TRADE:
            bids, asks = self.side(instrument, ord("B")), self.side(instrument, ord("S"))
            assert bids[0][0] <= price <= asks[0][0]
            assert price % 100 == 0
        elif kind is TickKind.BROKEN_TRADE:
            assert self.breakable.pop(aux) == instrument


Day = tuple[bytes, Any, Report, Decoder]


@pytest.fixture(scope="module")
def busy() -> Day:
    stream = _bytes(BUSY)
    return stream, *_decode(stream)


@pytest.fixture(scope="module")
def referee(busy: Day) -> Referee:
    """One that has followed the whole day."""
    _, ticks, _, _ = busy
    referee = Referee()
    for tick in ticks:
        referee.apply(tick)
    return referee


def test_exchange_when_same_options_then_same_bytes_whatever_the_chunks() -> None:
    options = ExchangeOptions(symbols=20, seed=3, messages=20_000)
    assert _bytes(options) == _bytes(options, chunk_bytes=4_096)


def test_exchange_when_seed_differs_then_bytes_differ() -> None:
    streams = {_bytes(ExchangeOptions(symbols=5, seed=seed, messages=2_000)) for seed in range(4)}
    assert len(streams) == 4


def test_exchange_when_seed_is_1_then_the_bytes_published_here() -> None:
    """Changes only with a change of the generator, which changelogs must then name: replays refer to seeds."""
    stream = _bytes(ExchangeOptions(symbols=50, seed=1, messages=20_000))
    assert hashlib.sha256(stream).hexdigest() == GOLDEN


def test_exchange_when_decoded_then_every_message_is_a_tick(busy: Day) -> None:
    _, ticks, report, decoder = busy
    assert not report.counts
    assert report.messages == report.ticks == len(ticks) > BUSY.messages
    assert len(decoder.registry) == BUSY.symbols
    own = {TickKind.HEARTBEAT, TickKind.BOOK_CLEAR}
    missing = set(TickKind) - set(decoder.kinds()) - own - {TickKind.MWCB_STATUS}
    assert not missing


def test_exchange_when_followed_by_a_referee_then_nothing_impossible_happens(referee: Referee) -> None:
    assert referee.seen["EXECUTED_WITH_PRICE printable"] > 100
    assert referee.seen["EXECUTED_WITH_PRICE silent"] > 0
    assert referee.seen["BROKEN_TRADE"] > 10
    assert referee.seen["TRADING_ACTION"] > BUSY.symbols + 20
    assert referee.seen["REPLACE"] > 1_000
    for instrument in range(BUSY.symbols):
        assert len(referee.side(instrument, ord("B"))) >= 3
        assert len(referee.side(instrument, ord("S"))) >= 3


def test_exchange_when_itchcpp_reads_it_then_books_agree(busy: Day, referee: Referee) -> None:
    stream, _, _, _ = busy
    books = BookManager()
    names = symbol_names(BUSY.symbols)
    for name in names:
        books.track_symbol(name)
    books.process_stream(stream)
    for instrument, name in enumerate(names):
        best = books.book_for_symbol(name).bbo()
        for side, has, price, shares in (
            ("B", best.has_bid, best.bid_price, best.bid_shares),
            ("S", best.has_ask, best.ask_price, best.ask_shares),
        ):
            levels = referee.side(instrument, ord(side))
            at_best = [referee.orders[ref].shares for level, ref in levels if level == levels[0][0]]
            assert (has, round(price * 10_000), shares) == (True, levels[0][0], sum(at_best))


def test_exchange_when_itchcpp_parses_it_then_types_agree(busy: Day) -> None:
    stream, _, _, decoder = busy
    counts = Counter(message.message_type for message in MessageParser().parse_stream(stream))
    assert {chr(kind).encode(): count for kind, count in decoder.kinds().items()} == counts


def test_exchange_when_shares_are_skewed_then_the_first_symbol_leads(busy: Day) -> None:
    _, ticks, _, _ = busy
    activity = Counter(ticks["instrument_id"].tolist())
    assert activity[0] > 3 * activity[BUSY.symbols - 1]


def test_exchange_when_it_opens_then_the_rate_is_raised() -> None:
    ticks, _, _ = _decode(_bytes(ExchangeOptions(symbols=20, rate=2_000, duration_s=60)))
    seconds = Counter(((ticks["event_ns"] - ExchangeOptions().open_ns) // 1_000_000_000).tolist())
    assert sum(seconds[s] for s in range(1, 6)) > 2 * sum(seconds[s] for s in range(50, 55))
    assert 0.8 < sum(seconds[s] for s in range(35, 59)) / (24 * 2_000) < 1.4


def test_exchange_when_the_day_ends_then_the_last_message_says_so(busy: Day) -> None:
    _, ticks, _, _ = busy
    assert [chr(code) for code in ticks[-3:]["detail"]] == ["M", "E", "C"]
    assert set(ticks[-3:]["kind"].tolist()) == {TickKind.SYSTEM_EVENT}


def test_exchange_when_8000_symbols_then_all_have_names_and_books() -> None:
    ticks, report, decoder = _decode(_bytes(ExchangeOptions(symbols=8_000, messages=60_000)))
    assert not report.counts
    assert len(decoder.registry) == 8_000
    crosses = ticks[(ticks["kind"] == TickKind.CROSS_TRADE) & (ticks["detail"] == ord("O"))]
    assert len(set(crosses["instrument_id"].tolist())) == 8_000


def test_symbol_names_when_asked_for_8000_then_all_differ() -> None:
    names = symbol_names(8_000)
    assert len(set(names)) == 8_000
    assert names[:10] == symbol_names(10)


@pytest.mark.parametrize("weights", [[1], [1, 1, 1], [7, 2, 1], [1 << 40, 1, 3, 5, 1 << 20]])
def test_alias_table_when_summed_then_every_symbol_has_its_share(weights: list[int]) -> None:
    limit, alias = alias_table(weights)
    share = [0] * len(weights)
    for column, (kept, other) in enumerate(zip(limit.tolist(), alias.tolist(), strict=True)):
        share[column] += kept
        share[other] += (1 << 32) - kept
    for got, weight in zip(share, weights, strict=True):
        assert abs(got - (weight * len(weights) << 32) / sum(weights)) <= len(weights)


@pytest.mark.parametrize("bad", [{"symbols": 0}, {"symbols": 8_001}, {"rate": 0}, {"duration_s": 0}, {"open_ns": 1}])
def test_options_when_out_of_range_then_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        ExchangeOptions(**bad)
