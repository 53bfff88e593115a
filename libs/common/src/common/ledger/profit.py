"""Positions with what they cost, and profit and loss, out of the ledger: by first in, first out, and by average cost.

A trade is shares and the cash that they moved, one of the two negative. Shares that are open keep the cash of their
trade; where a trade closes some, the cash of both is realised. So no rounding is ever lost: what is realised and the
cash of what is open are together the cash of all trades. A trade that a venue takes back is taken out, and what came
after it is matched anew, as though it had never been.

Shares that come in from outside have a cost that the ledger does not know. They come in at the price that the caller
gives, and count as a deposit of that worth.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from common.contracts.events import CASH, Book, EntryKind, LedgerEntry

_OWN = (Book.AVAILABLE, Book.RESERVED)


class Move(NamedTuple):
    """Shares that came (or went, where they are negative), and the cash that went (or came) for them."""

    order_id: str
    qty: int
    cash_e4: int


class Part(NamedTuple):
    """Shares that are open, and the cash of their trade."""

    qty: int
    cash_e4: int

    def split(self, qty: int) -> tuple["Part", "Part"]:
        """Splits off ``qty`` shares; the other part is the rest. Both have its direction, and share its cash."""
        cash_e4 = self.cash_e4 * qty // self.qty
        return Part(qty, cash_e4), Part(self.qty - qty, self.cash_e4 - cash_e4)


@dataclass(slots=True)
class Matched:
    """Open shares of one account in one symbol, and what is realised. Long, or short, never both."""

    open: deque[Part] = field(default_factory=deque)
    realised_e4: int = 0

    @property
    def qty(self) -> int:
        return sum(part.qty for part in self.open)

    @property
    def cost_e4(self) -> int:
        """Cash that the open shares have cost; less than nothing where they were sold short."""
        return -sum(part.cash_e4 for part in self.open)

    def unrealised_e4(self, price_e4: int) -> int:
        """Profit that closing all of it at this price would realise."""
        return self.qty * price_e4 - self.cost_e4

    def take(self, move: Part, *, pooled: bool) -> None:
        """The next trade. ``pooled``: open shares are one part, at their average; else the first is closed first."""
        while move.qty and self.open and (self.open[0].qty < 0) is not (move.qty < 0):
            closed = min(abs(move.qty), abs(self.open[0].qty))
            ours, rest = self.open.popleft().split(closed if move.qty < 0 else -closed)
            theirs, move = move.split(-ours.qty)
            self.realised_e4 += ours.cash_e4 + theirs.cash_e4
            if rest.qty:
                self.open.appendleft(rest)
        if not move.qty:
            return
        if pooled and self.open:
            before = self.open.pop()
            move = Part(before.qty + move.qty, before.cash_e4 + move.cash_e4)
        self.open.append(move)


@dataclass(slots=True)
class Position:
    """One account in one symbol, matched both ways."""

    first: Matched = field(default_factory=Matched)
    """First in, first out."""
    average: Matched = field(default_factory=Matched)
    bought_qty: int = 0
    sold_qty: int = 0
    _moves: list[Move] = field(default_factory=list)

    @property
    def qty(self) -> int:
        return self.first.qty

    def take(self, move: Move) -> None:
        """The next trade, or shares from outside."""
        self._moves.append(move)
        self._match(move)

    def take_back(self, move: Move) -> None:
        """A trade that did not stand: ``move`` is it the other way round. What is not known is a trade of its own."""
        was = Move(move.order_id, -move.qty, -move.cash_e4)
        if was not in self._moves:
            self.take(move)
            return
        self._moves.remove(was)
        self.first, self.average, self.bought_qty, self.sold_qty = Matched(), Matched(), 0, 0
        for each in self._moves:
            self._match(each)

    def _match(self, move: Move) -> None:
        part = Part(move.qty, move.cash_e4)
        self.first.take(part, pooled=False)
        self.average.take(part, pooled=True)
        if move.order_id:
            self.bought_qty += max(move.qty, 0)
            self.sold_qty += max(-move.qty, 0)


@dataclass(slots=True)
class Account:
    """One account: cash, what came from outside, positions by symbol."""

    seq: int = 0
    cash_e4: int = 0
    deposits_e4: int = 0
    """Cash, and the worth of shares, that came in less what went out."""
    positions: dict[str, Position] = field(default_factory=dict)


PriceOf = Callable[[str, str], int]
"""Account, symbol → price at which shares come in from outside."""


class ProfitFold:
    """Applies entries in the order of each account. Reads amounts alone, so reservations make no difference."""

    def __init__(self, price_of: PriceOf = lambda _account_id, _symbol: 0) -> None:
        self.accounts: dict[str, Account] = {}
        self._price_of = price_of

    def apply(self, entry: LedgerEntry) -> None:
        """Books one entry. Raises ValueError where it does not follow the account's last one."""
        account = self.accounts.setdefault(entry.account_id, Account())
        if entry.seq != account.seq + 1:
            raise ValueError(f"{entry.account_id}: entry {entry.seq} follows {account.seq}")
        account.seq = entry.seq
        amounts: dict[str, int] = {}
        for posting in entry.postings:
            if posting.book in _OWN:
                amounts[posting.asset] = amounts.get(posting.asset, 0) + posting.amount
        cash_e4 = amounts.pop(CASH, 0)
        account.cash_e4 += cash_e4
        is_trade = entry.kind in (EntryKind.POST, EntryKind.BUST)
        if not is_trade:
            account.deposits_e4 += cash_e4
        for symbol, qty in amounts.items():
            if not qty:
                continue
            position = account.positions.setdefault(symbol, Position())
            if not is_trade:
                worth_e4 = qty * self._price_of(entry.account_id, symbol)
                account.deposits_e4 += worth_e4
                position.take(Move("", qty, -worth_e4))
            elif entry.kind is EntryKind.BUST:
                position.take_back(Move(entry.order_id or "", qty, cash_e4))
            else:
                position.take(Move(entry.order_id or "", qty, cash_e4))
