"""Answers many intents at once, in columns: the kernels decide them and write what is accepted.

The readable gate says everything else, each denial and each repeat, from the account as it stood at that intent. A test
holds both ways to the same bytes, for any batch.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from common.columns import Column, OutputColumns
from common.contracts.events import AccountStatus
from common.contracts.topics import RISK_DECISIONS, RISK_LEDGER
from common.contracts.values import INT64_MAX, Side
from streams.model.blocks import Answers
from streams.model.message import Message
from streams.model.tables import Table, Tables

from risk.booking import last_link
from risk.domain.account import AccountRow, OrderRow, PositionRow
from risk.domain.answer_kernel import LINK_CHARS, write_links
from risk.domain.chain import ChainRow, link_all
from risk.domain.gate import (
    AccountState,
    Limits,
    Market,
    decide,
    limit_bound_e4,
    market_denial,
    market_price_e4,
)
from risk.domain.gate_kernel import ACCOUNT, LEVEL, MARKET, POSITION, RUN, SIDE, Accepted, Inputs, decide_all
from risk.domain.intent_kernel import ACCOUNT_AT, Intents
from risk.domain.ledger import LedgerError
from risk.domain.open_orders import LEVELS_MAX, with_symbols
from risk.domain.text_kernel import Array
from risk.intents import deny, on_repeat
from risk.market import MarketReader
from risk.tables import CHAIN_KEY
from risk.wire import decode_intent, encode_mark

EVERY: Final = slice(None)
STOOD: Final = ("reserved_cash_e4", "account_seq", "reserved_qty", "pending_cash_e4", "opposite_e4")
"""Columns of ``gate_kernel.ORDER`` with the account before the order."""
_ACTIVE: Final = AccountStatus.ACTIVE
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
        self.rows: list[AccountRow | None] = table.get_many(self.keys)
        self._table = table
        self.columns = np.array(
            [
                (0, 0, 0, False, 0)
                if row is None
                else (row.cash_e4, row.reserved_cash_e4, row.seq, row.status is _ACTIVE, row.pending_cash_e4)
                for row in self.rows
            ],
            ACCOUNT,
        )

    def as_at(self, number: int, reserved_cash_e4: int, seq: int, pending_cash_e4: int) -> AccountRow | None:
        """The row of an account when it had so much reserved and pending, and so many entries; without its prices."""
        row = self.rows[number]
        return None if row is None else AccountRow(row.status, row.cash_e4, reserved_cash_e4, seq, pending_cash_e4)

    def keep(self, buy_prices: Mapping[int, Mapping[str, bytes]]) -> None:
        """Writes those that have new entries; ``buy_prices`` are the changed ones, by the number of the account."""
        put = self._table.put
        columns = zip(self.keys, self.rows, self.columns.tolist(), strict=True)
        for number, (key, row, (cash_e4, reserved_cash_e4, seq, _, pending_cash_e4)) in enumerate(columns):
            if row is not None and seq != row.seq:
                changed = buy_prices.get(number)
                prices = row.buy_prices if changed is None else with_symbols(row.buy_prices, changed)
                put(key, AccountRow(row.status, cash_e4, reserved_cash_e4, seq, pending_cash_e4, prices))


class _Positions:
    """The positions of a run's accounts in its symbols, held or not, in columns, with the prices of open orders."""

    def __init__(self, accounts: _Accounts, markets: "_Markets", sells: Array, table: Table) -> None:
        pairs, self.of = np.unique(accounts.of * len(markets.symbols) + markets.of, return_inverse=True)
        self._accounts = (pairs // len(markets.symbols)).tolist()
        named = [markets.symbols[number] for number in (pairs % len(markets.symbols)).tolist()]
        self._symbols = [symbol.decode() for symbol in named]
        keys = [b"%b/%b" % (accounts.keys[at], symbol) for at, symbol in zip(self._accounts, named, strict=True)]
        self._keys = keys
        self._rows: list[PositionRow | None] = table.get_many(keys)
        self._table = table
        self.columns = np.zeros(len(keys), POSITION)
        self.columns["qty"] = [0 if row is None else row.qty for row in self._rows]
        self.columns["reserved_qty"] = [0 if row is None else row.reserved_qty for row in self._rows]
        self._read_prices(accounts, sells)

    def _read_prices(self, accounts: _Accounts, sells: Array) -> None:
        """Lays out the levels, with room for a new one for each intent."""
        prices = [b""] * (2 * len(self._keys))
        rows = [accounts.rows[number] for number in self._accounts]
        prices[::2] = [
            b"" if row is None else row.buy_prices.get(symbol, b"")
            for row, symbol in zip(rows, self._symbols, strict=True)
        ]
        prices[1::2] = [b"" if row is None else row.sell_prices for row in self._rows]
        self.sides = np.zeros(len(prices), SIDE)
        used = np.fromiter(map(len, prices), np.int64, len(prices)) // LEVEL.itemsize
        room = np.minimum(used + np.bincount(2 * self.of + sells, minlength=len(prices)), LEVELS_MAX)
        self.sides["used"] = used
        self.sides["begin"] = begin = np.cumsum(room) - room
        self.levels = np.empty(int(room.sum()), LEVEL)
        read = np.frombuffer(b"".join(prices), LEVEL)
        self.levels[np.arange(read.size) + np.repeat(begin - (np.cumsum(used) - used), used)] = read

    def as_at(self, number: int, reserved_qty: int) -> PositionRow | None:
        """The row of a position when so much was reserved; without its prices."""
        row = self._rows[number]
        return None if row is None else PositionRow(row.qty, reserved_qty)

    def keep(self) -> dict[int, dict[str, bytes]]:
        """Writes those of which more is reserved. Returns the changed prices of BUY orders, by account."""
        put = self._table.put
        whole, columns = self.levels.tobytes(), self.columns.tolist()
        changed = np.flatnonzero(self.sides["changed"])
        begins = self.sides["begin"][changed] * LEVEL.itemsize
        ends = begins + self.sides["used"][changed] * LEVEL.itemsize
        buys: dict[int, dict[str, bytes]] = {}
        for side, begin, end in zip(changed.tolist(), begins.tolist(), ends.tolist(), strict=True):
            number = side >> 1
            if side & 1:
                qty, reserved_qty = columns[number]
                put(self._keys[number], PositionRow(qty, reserved_qty, whole[begin:end]))
            else:
                buys.setdefault(self._accounts[number], {})[self._symbols[number]] = whole[begin:end]
        return buys


class _Markets:
    """What a run reads of the market, in columns."""

    def __init__(self, symbols: Sequence[bytes], tables: Tables, reader: MarketReader, limits: Limits, now_ns: int):
        self.symbols, self.of = _numbered(symbols)
        self.rows = [reader.read(tables, symbol.decode()) for symbol in self.symbols]
        marks: list[bytes] = []
        columns = []
        at = 0
        for symbol, market in zip(self.symbols, self.rows, strict=True):
            bounds = limits.of(symbol.decode())
            if market_denial(market, bounds, now_ns) is not None:
                columns.append((0,) * len(MARKET.names or ()))
                continue
            instrument, json, packed = market.instrument, bytes(encode_mark(market.mark) or b""), _pack(market.mark)
            assert instrument is not None and market.mark is not None, "or it were denied"
            marks += (json, packed)
            columns.append(
                (
                    instrument.lot_size,
                    instrument.tick_e4,
                    instrument.sub_unit_tick_e4,
                    _price_e4(Side.BUY, market.mark.ask_e4, market, bounds),
                    _price_e4(Side.SELL, market.mark.bid_e4, market, bounds),
                    limit_bound_e4(Side.BUY, market, bounds),
                    limit_bound_e4(Side.SELL, market, bounds),
                    bounds.order_qty_max,
                    bounds.order_notional_max_e4,
                    bounds.self_cross_denied,
                    instrument.instrument_id,
                    at,
                    at + len(json),
                    at + len(json),
                    at + len(json) + len(packed),
                )
            )
            at += len(json) + len(packed)
        self.columns = np.array(columns, MARKET)
        self.marks = np.frombuffer(b"".join(marks), np.uint8)


def _price_e4(side: Side, quote_e4: int, market: Market, limits: Limits) -> int:
    """The worst price of a MARKET order; 0 without a quote, or where no quantity at that price fits 64 bits."""
    price_e4 = market_price_e4(side, market, limits) if quote_e4 > 0 else 0
    return price_e4 if price_e4 <= INT64_MAX else 0


def answer_run(
    messages: Sequence[Message], intents: Intents, tables: Tables, reader: MarketReader, limits: Limits, now_ns: int
) -> Answers:
    """One answer for each message; all of them are plain intents.

    Raises LedgerError where the gate and its kernel do not agree.
    """
    keys, partition = [message.key or b"" for message in messages], tables.partition
    answered = _answered(intents.row_keys, tables)
    accounts = _Accounts(keys, tables.changelogged("accounts"))
    markets = _Markets(intents.symbols, tables, reader, limits, now_ns)
    positions = _Positions(accounts, markets, intents.rows["sell"], tables.changelogged("positions"))
    last = last_link(tables, partition)
    run = np.array([(now_ns, partition, last.seq)], RUN)
    offsets = np.array([message.offset for message in messages], np.int64)
    accepted = decide_all(
        Inputs(
            intents.text, intents.rows, answered, accounts.of, accounts.columns, positions.of, positions.columns,
            positions.sides, positions.levels, markets.of, markets.columns, markets.marks, run, offsets,
        )
    )  # fmt: skip
    accounts.keep(positions.keep())
    _keep_orders(accepted, intents, tables)

    def deny_or_repeat(
        index: int, reserved_cash_e4: int, account_seq: int, reserved_qty: int, pending_cash_e4: int, opposite_e4: int
    ) -> bytes:
        """From the account as it stood."""
        message, row_key = messages[index], intents.row_keys[index]
        intent = decode_intent(message.value)
        seen: OrderRow | None = tables.changelogged("orders").get(row_key) if answered[index] else None
        if seen is not None:
            return on_repeat(message, intent, seen, account_seq, now_ns)
        account = accounts.as_at(accounts.of[index], reserved_cash_e4, account_seq, pending_cash_e4)
        position = positions.as_at(positions.of[index], reserved_qty)
        market = markets.rows[markets.of[index]]
        verdict = decide(intent, AccountState(account, position, opposite_e4), market, limits, now_ns)
        if verdict.denial is None:
            raise LedgerError(f"{intent.account_id}.{intent.client_order_id}: accepted by the gate, not by its kernel")
        return deny(message, intent, tables, verdict, market, account_seq, now_ns)

    which, others = np.flatnonzero(accepted.orders["accepted"]), np.flatnonzero(~accepted.orders["accepted"])
    stood = (accepted.orders[name][others].tolist() for name in STOOD)
    decisions = _decisions(accepted, [*map(deny_or_repeat, others.tolist(), *stood)])
    entries = _linked(accepted, tables, last)
    return Answers(
        len(messages),
        (
            OutputColumns(RISK_DECISIONS, partition, np.arange(len(messages)), _accounts_of(intents), decisions),
            OutputColumns(RISK_LEDGER, partition, which, _accounts_of(intents, which), entries),
        ),
    )


def _answered(row_keys: Sequence[bytes], tables: Tables) -> Array:
    """Which ids were answered: before the run, or by an earlier intent of it."""
    rows = tables.changelogged("orders").get_many(row_keys)
    answered = np.zeros(len(rows), np.bool_)
    if rows.count(None) < len(rows):
        answered[:] = [row is not None for row in rows]
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


def _keep_orders(accepted: Accepted, intents: Intents, tables: Tables) -> None:
    """Writes the rows of the accepted orders.

    Slot by slot, since the store sorts what it is given, and has little left to do where most is in order.
    """
    which = np.flatnonzero(accepted.orders["accepted"])
    which = which[np.argsort(intents.slots[which], kind="stable")]
    ends = accepted.orders["row_end"]
    begins = np.concatenate(([0], ends[:-1]))
    whole = accepted.rows[: ends[-1]].tobytes()
    rows = [whole[begin:end] for begin, end in zip(begins[which].tolist(), ends[which].tolist(), strict=True)]
    keys = [intents.row_keys[at] for at in which.tolist()]
    tables.changelogged("orders").put_encoded(dict(zip(keys, rows, strict=True)))


def _decisions(accepted: Accepted, others: Sequence[bytes]) -> Column:
    """The decision on each intent: those of the kernel, and in the places of what it did not accept the ``others``."""
    ends = accepted.orders["decision_end"].copy()
    begins = np.concatenate(([0], ends[:-1]))
    length = int(ends[-1])
    lengths = np.fromiter(map(len, others), np.int64, len(others))
    elsewhere = ~accepted.orders["accepted"]
    ends[elsewhere] = length + np.cumsum(lengths)
    begins[elsewhere] = ends[elsewhere] - lengths
    return Column(
        np.concatenate((accepted.decisions[:length], np.frombuffer(b"".join(others), np.uint8))), begins, ends
    )


def _linked(accepted: Accepted, tables: Tables, last: ChainRow) -> Column:
    """The entries with their hashes, which become the partition's last ones."""
    closed = accepted.orders["entry_end"][accepted.orders["accepted"]]
    ends = closed + LINK_CHARS
    begins = np.concatenate(([0], ends))[:-1]
    if closed.size:
        heads, head = link_all(last, memoryview(accepted.entries.data), begins.tolist(), closed.tolist())
        write_links(accepted.entries, closed, np.frombuffer(heads, np.uint8).reshape(-1, 32))
        tables.changelogged("chain").put(CHAIN_KEY, head)
    return Column(accepted.entries, begins, ends)
