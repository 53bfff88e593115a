"""Answers many intents at once, in columns: kernels decide them and write what is accepted.

A kernel says of what it denies which check it fails. What the check compared is said from the account as it stood at
that intent, and repeats of an id are answered from what was answered before.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
from common.checks.case import NO_ACTIVITY, AccountFields, ActivityFields, Case, PositionFields
from common.checks.prices import UNKNOWN_QTY
from common.columns import Column, OutputColumns
from common.contracts.topics import RISK_DECISIONS, RISK_LEDGER
from msgspec.structs import astuple
from streams.model.blocks import Answers
from streams.model.message import Message
from streams.model.tables import Table, Tables

from risk import metrics
from risk.activity import Place, RunActivity
from risk.booking import last_link
from risk.domain.account import NO_POSITION, AccountRow, PositionRow
from risk.domain.answer_kernel import LINK_CHARS, TEXTS, write_links
from risk.domain.chain import ChainRow, link_all
from risk.domain.gate import account_fields, denial_of, order_fields
from risk.domain.gate_kernel import (
    ACCOUNT,
    ANSWERED,
    LEVEL,
    LIMITS,
    MARKET,
    NOTHING_LATELY,
    POSITION,
    RUN,
    SIDE,
    Decided,
    Decider,
    Inputs,
    Lately,
)
from risk.domain.intent_kernel import ACCOUNT_AT, Intents
from risk.domain.open_orders import LEVELS_MAX, TOTAL_RANK, with_symbols
from risk.domain.text_kernel import Array
from risk.framed_answers import FramedAnswers, Run
from risk.intents import deny, on_repeat
from risk.market import MarketReader
from risk.tables import CHAIN_KEY
from risk.wire import decode_intent, encode_mark

EVERY: Final = slice(None)
NO_PRICES: Final[Mapping[str, bytes]] = {}
_pack: Final = msgspec.msgpack.Encoder().encode


def _numbered(names: Sequence[bytes]) -> tuple[list[bytes], Array]:
    """Each name once, and of each in its place the number of it among those."""
    distinct = list(dict.fromkeys(names))
    numbers = dict(zip(distinct, range(len(distinct)), strict=True))
    return distinct, np.fromiter(map(numbers.__getitem__, names), np.int64, len(names))


class _Accounts:
    """The accounts of a run in columns."""

    def __init__(self, keys: Sequence[bytes], table: Table) -> None:
        self.keys, self.of = _numbered(keys)
        self._rows: list[AccountRow | None] = table.get_many(self.keys)
        self.buy_prices = [NO_PRICES if row is None else row.buy_prices for row in self._rows]
        self._table = table
        self._seqs = [0 if row is None else row.seq for row in self._rows]
        self.columns = np.zeros(len(self._rows), ACCOUNT)
        self.columns["seq"] = self._seqs
        fields = list(map(account_fields, self._rows))
        for name in AccountFields.__struct_fields__:
            self.columns[name] = list(map(attrgetter(name), fields))

    def keep(self, buy_prices: Mapping[int, Mapping[str, bytes]]) -> None:
        """Writes those that have new entries; ``buy_prices`` are the changed ones, by the number of the account."""
        moved = np.flatnonzero(self.columns["seq"] != self._seqs)
        columns = (self.columns[name][moved].tolist() for name in ("reserved_cash_e4", "seq", "pending_cash_e4"))
        written: dict[bytes, AccountRow] = {}
        for number, reserved_cash_e4, seq, pending_cash_e4 in zip(moved.tolist(), *columns, strict=True):
            row, prices = self._rows[number], self.buy_prices[number]
            assert row is not None, "nothing is accepted of an account that is not there"
            if (changed := buy_prices.get(number)) is not None:
                prices = with_symbols(prices, changed)
            written[self.keys[number]] = AccountRow(
                row.status, row.cash_e4, reserved_cash_e4, seq, pending_cash_e4, prices
            )
        self._table.put_many(written)


class _Positions:
    """The positions of a run's accounts in its symbols, held or not, in columns, with the prices of open orders."""

    def __init__(self, accounts: _Accounts, markets: "_Markets", intents: Intents, table: Table) -> None:
        pairs, self.of = np.unique(accounts.of * len(markets.symbols) + markets.of, return_inverse=True)
        some = np.empty(len(pairs), np.int64)
        some[self.of] = np.arange(len(self.of))
        owners, numbers = np.divmod(pairs, len(markets.symbols))
        self._accounts: list[int] = owners.tolist()
        self._symbols = list(map([symbol.decode() for symbol in markets.symbols].__getitem__, numbers.tolist()))
        self._keys = intents.position_keys(some)
        self._table = table
        rows = [NO_POSITION if row is None else row for row in table.get_many(self._keys)]
        self.columns = np.zeros(len(rows), POSITION)
        self.columns["qty"] = [row.qty for row in rows]
        self.columns["reserved_qty"] = [row.reserved_qty for row in rows]
        prices = map(accounts.buy_prices.__getitem__, self._accounts)
        buys = [each.get(symbol, b"") for each, symbol in zip(prices, self._symbols, strict=True)]
        self._levels_before = buys, [row.sell_prices for row in rows]
        self._read_prices(*self._levels_before, intents.rows["sell"])

    def places(self) -> list[Place]:
        """Counts that the limits on recent and open orders look at."""
        return list(map(Place, self._accounts, self._symbols, *self._levels_before))

    def _read_prices(self, buys: Sequence[bytes], sells: Sequence[bytes], sold: Array) -> None:
        """Lays out the levels, with room for a new one for each intent, and for the total of BUY orders behind them."""
        prices = [b""] * (2 * len(buys))
        prices[::2], prices[1::2] = buys, sells
        self.sides = np.zeros(len(prices), SIDE)
        used = np.fromiter(map(len, prices), np.int64, len(prices)) // LEVEL.itemsize
        read = np.frombuffer(b"".join(prices), LEVEL)
        is_total = read["rank_e4"] == TOTAL_RANK
        totalled = np.repeat(np.arange(len(prices)), used)[is_total]
        self._totalled = used[::2] == 0
        self._totalled[totalled // 2] = True
        qty = np.where(used > 0, UNKNOWN_QTY, 0)
        qty[totalled] = read["orders"][is_total]
        self.columns["open_buy_qty"] = qty[::2]
        used[totalled] -= 1
        read = read[~is_total]
        room = np.minimum(used + np.bincount(2 * self.of + sold, minlength=len(prices)), LEVELS_MAX)
        room[::2] += 1
        self.sides["used"] = used
        self.sides["begin"] = begin = np.cumsum(room) - room
        self.levels = np.empty(int(room.sum()), LEVEL)
        self.levels[np.arange(read.size) + np.repeat(begin - (np.cumsum(used) - used), used)] = read
        best_e4 = np.zeros(len(prices), np.int64)
        best_e4[used > 0] = abs(self.levels["rank_e4"][begin[used > 0]])
        self.columns["open_buy_price_e4"], self.columns["open_sell_price_e4"] = best_e4[::2], best_e4[1::2]

    def keep(self) -> dict[int, dict[str, bytes]]:
        """Writes those of which more is reserved. Returns the changed prices of BUY orders, by account."""
        changed = self.sides["changed"] != 0
        bought = np.flatnonzero(changed[::2])
        self._write_totals(bought[self._totalled[bought]])
        whole = self.levels.tobytes()
        sold = np.flatnonzero(changed[1::2])
        columns = (self.columns[name][sold].tolist() for name in ("qty", "reserved_qty"))
        rows = map(PositionRow, *columns, self._prices(whole, 2 * sold + 1))
        self._table.put_many(dict(zip(map(self._keys.__getitem__, sold.tolist()), rows, strict=True)))
        buys: defaultdict[int, dict[str, bytes]] = defaultdict(dict)
        for number, prices in zip(bought.tolist(), self._prices(whole, 2 * bought), strict=True):
            buys[self._accounts[number]][self._symbols[number]] = prices
        return buys

    def _write_totals(self, bought: Array) -> None:
        """Puts the open shares of BUY orders behind their levels."""
        at = self.sides["begin"][2 * bought] + self.sides["used"][2 * bought]
        self.levels["rank_e4"][at] = TOTAL_RANK
        self.levels["orders"][at] = self.columns["open_buy_qty"][bought]
        self.sides["used"][2 * bought] += 1

    def _prices(self, levels: bytes, sides: Array) -> Iterator[bytes]:
        """What is written of each of the sides."""
        begins = self.sides["begin"][sides] * LEVEL.itemsize
        ends = begins + self.sides["used"][sides] * LEVEL.itemsize
        return map(levels.__getitem__, map(slice, begins.tolist(), ends.tolist()))


class _Markets:
    """The market as a run reads it, in columns."""

    def __init__(self, symbols: Sequence[bytes], tables: Tables, reader: MarketReader):
        self.symbols, self.of = _numbered(symbols)
        self.listed = [reader.read(tables, symbol.decode()) for symbol in self.symbols]
        self.columns = np.array([astuple(each.fields) for each in self.listed], MARKET)
        names = LIMITS.names or ()
        self.limits = np.array([tuple(getattr(each.limits, name) for name in names) for each in self.listed], LIMITS)
        marks: list[bytes] = []
        texts = []
        at = 0
        for market, _, _ in self.listed:
            json, packed = bytes(encode_mark(market.mark) or b""), _pack(market.mark)
            instrument_id = 0 if market.instrument is None else market.instrument.instrument_id
            middle, end = at + len(json), at + len(json) + len(packed)
            texts.append((instrument_id, at, middle, middle, end))
            marks += (json, packed)
            at = end
        self.texts = np.array(texts, TEXTS)
        self.marks = np.frombuffer(b"".join(marks), np.uint8)


def answer_run(
    messages: Sequence[Message],
    intents: Intents,
    tables: Tables,
    reader: MarketReader,
    decider: Decider,
    now_ns: int,
    framed: FramedAnswers | None = None,
) -> Answers:
    """One answer for each message, all of them plain intents; ``framed`` writes the answers, else they are text."""
    keys, partition = [message.key or b"" for message in messages], tables.partition
    by_slot = np.argsort(intents.slots, kind="stable")
    answered = _answered(intents.row_keys, by_slot, tables)
    accounts = _Accounts(keys, tables.changelogged("accounts"))
    markets = _Markets(intents.symbols, tables, reader)
    positions = _Positions(accounts, markets, intents, tables.changelogged("positions"))
    last = last_link(tables, partition)
    run = np.array([(now_ns, partition, last.seq)], RUN)
    offsets = np.array([message.offset for message in messages], np.int64)
    activity, lately = _lately(accounts, positions, intents, tables, reader, now_ns)
    decided = decider.decide_all(
        Inputs(
            intents.text, intents.rows, answered, accounts.of, accounts.columns, positions.of, positions.columns,
            positions.sides, positions.levels, markets.of, markets.columns, markets.limits, markets.texts,
            markets.marks, run, offsets, lately,
        )
    )  # fmt: skip
    accounts.keep(positions.keep())
    if activity is not None:
        activity.keep(decided.orders, accounts.columns["known"][accounts.of] & markets.columns["known"][markets.of])
    _keep_orders(decided, intents.row_keys, by_slot, tables)

    def deny_or_repeat(
        index: int, failed: int, account_seq: int, account: tuple[Any, ...], position: tuple[Any, ...]
    ) -> bytes:
        message, row_key = messages[index], intents.row_keys[index]
        intent = decode_intent(intents.value(index))
        if failed == ANSWERED:
            seen: Any = tables.changelogged("orders").get(row_key)
            return on_repeat(message, intent, seen, account_seq, now_ns)
        symbol = markets.listed[markets.of[index]]
        *fields, _ = account  # behind them stands ``seq``
        stood = AccountFields(*fields), PositionFields(*position)
        did = NO_ACTIVITY if activity is None else ActivityFields(*decided.activities[index].item())
        case = Case(order_fields(intent), *stood, symbol.fields, symbol.limits, now_ns, did)
        denial = denial_of(decider.chain, failed, case)
        return deny(message, intent, row_key, tables, denial, symbol.market, account_seq, now_ns)

    _count_denials(decided, decider)
    accepted = decided.orders["accepted"]
    which, others = np.flatnonzero(accepted), np.flatnonzero(~accepted)
    stood = (decided.orders["failed"], decided.orders["account_seq"], decided.accounts, decided.positions)
    answers = [*map(deny_or_repeat, others.tolist(), *(column[others].tolist() for column in stood))]
    entries, heads = _linked(decided, tables, last)
    if framed is None:
        said = _decisions(decided, answers), entries
    else:
        asked = Run(intents, markets.of, markets.texts, [each.market.mark for each in markets.listed], run, offsets)
        said = framed.answers(asked, decided, answers, heads)
    return Answers(len(messages), _outputs(partition, intents, which, *said, framed=framed is not None))


def _lately(
    accounts: _Accounts, positions: _Positions, intents: Intents, tables: Tables, reader: MarketReader, now_ns: int
) -> tuple[RunActivity | None, Lately]:
    """Activity of the accounts before the run; nothing where no limit asks for it."""
    if reader.counted is None:
        return None, NOTHING_LATELY
    activity = RunActivity(accounts.keys, accounts.of, tables.changelogged("activity"), reader.counted, now_ns)
    orders = [decode_intent(intents.value(at)) for at in range(len(intents.rows))]
    return activity, activity.columns(orders, positions.places())


def _outputs(
    partition: int, intents: Intents, which: Array, decisions: Column, entries: Column, *, framed: bool
) -> tuple[OutputColumns, OutputColumns]:
    """A decision on each intent, and the entries of those that ``which`` names."""
    each = np.arange(len(intents.rows))
    return (
        OutputColumns(RISK_DECISIONS, partition, each, _accounts_of(intents), decisions, framed),
        OutputColumns(RISK_LEDGER, partition, which, _accounts_of(intents, which), entries, framed),
    )


def _count_denials(decided: Decided, decider: Decider) -> None:
    failed = decided.orders["failed"]
    checks = decider.chain.checks
    counted = np.bincount(failed[failed != ANSWERED], minlength=len(checks))
    for number in np.flatnonzero(counted[: len(checks)]).tolist():
        metrics.DENIALS.labels(checks[number].name, checks[number].reason).inc(int(counted[number]))


def _answered(row_keys: Sequence[bytes], by_slot: Array, tables: Tables) -> Array:
    """Which ids were answered: before the run, or by an earlier intent of it.

    The store is asked slot by slot, since it finds a key sooner that is near the one before.
    """
    rows = tables.changelogged("orders").get_many(list(map(row_keys.__getitem__, by_slot.tolist())))
    answered = np.zeros(len(rows), np.bool_)
    if rows.count(None) < len(rows):
        answered[by_slot] = [row is not None for row in rows]
    if len(set(row_keys)) < len(row_keys):
        seen: set[bytes] = set()
        for at, key in enumerate(row_keys):
            answered[at] |= key in seen
            seen.add(key)
    return answered


def _accounts_of(intents: Intents, which: Array | slice = EVERY) -> Column:
    """The account of each intent, or of some of them."""
    rows = intents.rows[which]
    return Column(intents.text, rows["begin"] + ACCOUNT_AT, rows["account_end"])


def _keep_orders(decided: Decided, row_keys: Sequence[bytes], by_slot: Array, tables: Tables) -> None:
    """Writes the rows of the accepted orders.

    Slot by slot, since the store sorts what it is given, and has little left to do where most is in order.
    """
    which = by_slot[decided.orders["accepted"][by_slot]]
    ends = decided.orders["row_end"]
    begins = np.concatenate(([0], ends[:-1]))
    whole = decided.rows[: ends[-1]].tobytes()
    rows = map(whole.__getitem__, map(slice, begins[which].tolist(), ends[which].tolist()))
    keys = map(row_keys.__getitem__, which.tolist())
    tables.changelogged("orders").put_encoded(dict(zip(keys, rows, strict=True)))


def _decisions(decided: Decided, others: Sequence[bytes]) -> Column:
    """The decision on each intent: those of the kernel, and in the places of what it did not accept the ``others``."""
    ends = decided.orders["decision_end"].copy()
    begins = np.concatenate(([0], ends[:-1]))
    length = int(ends[-1])
    lengths = np.fromiter(map(len, others), np.int64, len(others))
    elsewhere = ~decided.orders["accepted"]
    ends[elsewhere] = length + np.cumsum(lengths)
    begins[elsewhere] = ends[elsewhere] - lengths
    return Column(with_more(decided.decisions, length, np.frombuffer(b"".join(others), np.uint8)), begins, ends)


def with_more(text: Array, length: int, more: Array) -> Array:
    """``more`` behind the first ``length`` characters; in the same array where it has the room."""
    if length + more.size > text.size:
        return np.concatenate((text[:length], more))
    text[length : length + more.size] = more
    return text


def _linked(decided: Decided, tables: Tables, last: ChainRow) -> tuple[Column, bytes]:
    """The entries with their hashes, which become the partition's last ones, and the hashes."""
    closed = decided.orders["entry_end"][decided.orders["accepted"]]
    ends = closed + LINK_CHARS
    begins = np.concatenate(([0], ends))[:-1]
    heads = b""
    if closed.size:
        heads, head = link_all(last, memoryview(decided.entries.data), begins.tolist(), closed.tolist())
        write_links(decided.entries, closed, np.frombuffer(heads, np.uint8).reshape(-1, 32))
        tables.changelogged("chain").put(CHAIN_KEY, head)
    return Column(decided.entries, begins, ends), heads
