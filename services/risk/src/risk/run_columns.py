"""Columns of a run of intents: accounts, positions and markets that it meets, read before it and written after it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Final

import msgspec
import numpy as np
from common.checks.case import AccountFields
from common.checks.prices import UNKNOWN_QTY
from msgspec.structs import astuple
from streams.model.tables import Table, Tables

from risk.activity import Place
from risk.domain.account import NO_POSITION, AccountRow, PositionRow
from risk.domain.answer_kernel import TEXTS
from risk.domain.gate import account_fields
from risk.domain.gate_kernel import (
    ACCOUNT,
    LEVEL,
    LIMITS,
    MARKET,
    POSITION,
    SIDE,
)
from risk.domain.in_force import InForce, in_force
from risk.domain.intent_kernel import SLOT_BYTES, Intents
from risk.domain.open_orders import LEVELS_MAX, TOTAL_RANK, with_symbols
from risk.domain.text_kernel import Array
from risk.market import MarketReader
from risk.wire import encode_mark

NO_PRICES: Final[Mapping[str, bytes]] = {}
_pack: Final = msgspec.msgpack.Encoder().encode


def _numbered(names: Sequence[bytes]) -> tuple[list[bytes], Array]:
    """Each name once, and of each in its place the number of it among those."""
    distinct = list(dict.fromkeys(names))
    numbers = dict(zip(distinct, range(len(distinct)), strict=True))
    return distinct, np.fromiter(map(numbers.__getitem__, names), np.int64, len(names))


class Accounts:
    """The accounts of a run in columns."""

    def __init__(self, keys: Sequence[bytes], table: Table) -> None:
        self.keys, self.of = _numbered(keys)
        self.rows: list[AccountRow | None] = table.get_many(self.keys)
        self.buy_prices = [NO_PRICES if row is None else row.buy_prices for row in self.rows]
        self._table = table
        self._seqs = [0 if row is None else row.seq for row in self.rows]
        self.columns = np.zeros(len(self.rows), ACCOUNT)
        self.columns["seq"] = self._seqs
        fields = list(map(account_fields, self.rows))
        for name in AccountFields.__struct_fields__:
            self.columns[name] = list(map(attrgetter(name), fields))

    def keep(self, buy_prices: Mapping[int, Mapping[str, bytes]]) -> None:
        """Writes those that have new entries; ``buy_prices`` are the changed ones, by the number of the account."""
        moved = np.flatnonzero(self.columns["seq"] != self._seqs)
        columns = (self.columns[name][moved].tolist() for name in ("reserved_cash_e4", "seq", "pending_cash_e4"))
        written: dict[bytes, AccountRow] = {}
        for number, reserved_cash_e4, seq, pending_cash_e4 in zip(moved.tolist(), *columns, strict=True):
            row, prices = self.rows[number], self.buy_prices[number]
            assert row is not None, "nothing is accepted of an account that is not there"
            if (changed := buy_prices.get(number)) is not None:
                prices = with_symbols(prices, changed)
            written[self.keys[number]] = AccountRow(
                row.status, row.cash_e4, reserved_cash_e4, seq, pending_cash_e4, prices
            )
        self._table.put_many(written)


class Positions:
    """The positions of a run's accounts in its symbols, held or not, in columns, with the prices of open orders."""

    def __init__(self, accounts: Accounts, markets: "Markets", intents: Intents, table: Table) -> None:
        pairs, self.of = np.unique(accounts.of * len(markets.symbols) + markets.symbol_of, return_inverse=True)
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
        """Bytes of the levels of each of the sides, as they are written."""
        begins = self.sides["begin"][sides] * LEVEL.itemsize
        ends = begins + self.sides["used"][sides] * LEVEL.itemsize
        return map(levels.__getitem__, map(slice, begins.tolist(), ends.tolist()))


class Markets:
    """The market as a run reads it, in columns: a row for each symbol, and more where accounts have own limits."""

    def __init__(self, intents: Intents, accounts: Accounts, tables: Tables, reader: MarketReader, now_ns: int):
        self.symbols, self.symbol_of = _numbered(intents.symbols)
        self.of = self.symbol_of
        limits = reader.limits
        self.firm = limits.firm(tables, now_ns)
        self.listed = [
            reader.read(tables, name, limits.of(name, self.firm)) for name in map(bytes.decode, self.symbols)
        ]
        self.own: dict[int, InForce] = {}
        """By number of the account."""
        if limits.some_have_own(tables):
            self._add_own(intents, accounts, tables, reader, now_ns)
        self.columns = np.array([astuple(each.fields) for each in self.listed], MARKET)
        names = LIMITS.names or ()
        self.limits = np.array([tuple(getattr(each.limits, name) for name in names) for each in self.listed], LIMITS)
        self._write_texts()

    def _add_own(self, intents: Intents, accounts: Accounts, tables: Tables, reader: MarketReader, now_ns: int) -> None:
        """Orders that are held to other limits than those of their symbol meet the market in rows of their own."""
        rows = tables.changelogged("controls").get_many(accounts.keys)
        self.own = {number: in_force(row, now_ns) for number, row in enumerate(rows) if row is not None}
        places: dict[tuple[int, int, str], int] = {}
        self.of = self.symbol_of.copy()
        for at in np.flatnonzero(np.isin(accounts.of, list(self.own))).tolist():
            account, symbol = int(accounts.of[at]), int(self.symbol_of[at])
            own = self.own[account]
            order_id = intents.row_keys[at][SLOT_BYTES + len(accounts.keys[account]) + 1 :].decode()
            place = account, symbol, order_id if order_id in own.by_order else ""
            if place not in places:
                places[place] = len(self.listed)
                name = self.symbols[symbol].decode()
                limits = reader.limits.of(name, self.firm, own, order_id)
                self.listed.append(reader.read(tables, name, limits))
            self.of[at] = places[place]

    def _write_texts(self) -> None:
        marks: list[bytes] = []
        texts = []
        at = 0
        for market, *_ in self.listed:
            json, packed = bytes(encode_mark(market.mark) or b""), _pack(market.mark)
            instrument_id = 0 if market.instrument is None else market.instrument.instrument_id
            middle, end = at + len(json), at + len(json) + len(packed)
            texts.append((instrument_id, at, middle, middle, end))
            marks += (json, packed)
            at = end
        self.texts = np.array(texts, TEXTS)
        self.marks = np.frombuffer(b"".join(marks), np.uint8)
