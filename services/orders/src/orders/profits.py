"""Positions of an account with what they cost, and what is realised: a fold of its ledger, kept and carried on.

Entries of the ledger never change, so an account that is asked for again costs only what was booked since. The fold is
that of the day's report (``common.ledger.profit``).
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from common.ledger.profit import Account, Position, ProfitFold
from pydantic import BaseModel, Field

from orders.queries import Queries
from orders.trouble import DatabaseAway, Trouble

PAGE_ENTRIES: Final = 200
"""Entries between which other requests are let in."""
FOLDED_MAX: Final = 20_000
"""Entries that one request folds at most."""
ACCOUNTS_MAX: Final = 200
"""Accounts whose fold is kept, those that were asked for last."""


class PositionProfit(BaseModel):
    """One symbol. Unrealised is ``qty`` times a price less a cost; what was sold short has a cost below 0."""

    symbol: str
    qty: int
    bought_qty: int
    sold_qty: int
    cost_fifo_e4: int = Field(description="cash that the open shares have cost, where the first that came go first")
    cost_average_e4: int = Field(description="the same at the average of all open shares")
    realised_fifo_e4: int
    realised_average_e4: int


class AccountProfit(BaseModel):
    """Profit of an account since it began. Shares from outside have cost nothing: nobody said what they cost."""

    account_id: str
    seq: int = Field(description="the newest ledger entry that is in it")
    realised_fifo_e4: int
    realised_average_e4: int
    positions: tuple[PositionProfit, ...] = Field(description="by symbol; of closed ones, too")


@dataclass(slots=True)
class _Kept:
    """The fold of one account."""

    fold: ProfitFold = field(default_factory=ProfitFold)
    going_on: asyncio.Lock = field(default_factory=asyncio.Lock)

    def account(self, account_id: str) -> Account:
        return self.fold.accounts.get(account_id) or Account()


class Profits:
    """At most ``accounts_max`` folds."""

    def __init__(self, queries: Queries, accounts_max: int = ACCOUNTS_MAX, folded_max: int = FOLDED_MAX) -> None:
        self._queries = queries
        self._accounts_max = accounts_max
        self._folded_max = folded_max
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def account(self, account_id: str, seq: int) -> AccountProfit:
        """As of the ledger entry ``seq``, which is the newest that is projected, or of a later one.

        Raises DatabaseAway where PostgreSQL does not answer; with BEHIND where more entries wait than one request
        folds: asked again it goes on from there.
        """
        kept = self._of(account_id)
        async with kept.going_on:
            folded = kept.account(account_id).seq
            if folded > seq and folded > await self._queries.ledger_seq(account_id):
                kept.fold = ProfitFold()  # the rows are made anew, and may be of another log
            try:
                await self._go_on(account_id, kept.fold, seq)
            except DatabaseAway as error:
                if error.trouble is Trouble.ROW:
                    self._kept.pop(account_id, None)
                raise
            return _said(account_id, kept.account(account_id))

    async def _go_on(self, account_id: str, fold: ProfitFold, seq: int) -> None:
        folded = 0
        while (reached := fold.accounts[account_id].seq if account_id in fold.accounts else 0) < seq:
            if folded >= self._folded_max:
                raise DatabaseAway(Trouble.BEHIND, f"{reached} of {seq} entries are counted; asked again it goes on")
            page = await self._queries.ledger(account_id, reached, PAGE_ENTRIES)
            if not page.items:
                raise DatabaseAway(Trouble.ROW, f"the ledger of {account_id} has no entry after {reached}")
            for entry in page.items:
                try:
                    fold.apply(entry)
                except ValueError as error:
                    raise DatabaseAway(Trouble.ROW, f"the ledger's rows have a gap: {error}") from error
            folded += len(page.items)

    def _of(self, account_id: str) -> _Kept:
        kept = self._kept.setdefault(account_id, _Kept())
        self._kept.move_to_end(account_id)
        if len(self._kept) > self._accounts_max:
            self._kept.popitem(last=False)
        return kept


def _said(account_id: str, account: Account) -> AccountProfit:
    held = sorted(account.positions.items())
    return AccountProfit(
        account_id=account_id,
        seq=account.seq,
        realised_fifo_e4=sum(position.first.realised_e4 for _, position in held),
        realised_average_e4=sum(position.average.realised_e4 for _, position in held),
        positions=tuple(_position(symbol, position) for symbol, position in held),
    )


def _position(symbol: str, position: Position) -> PositionProfit:
    return PositionProfit(
        symbol=symbol,
        qty=position.qty,
        bought_qty=position.bought_qty,
        sold_qty=position.sold_qty,
        cost_fifo_e4=position.first.cost_e4,
        cost_average_e4=position.average.cost_e4,
        realised_fifo_e4=position.first.realised_e4,
        realised_average_e4=position.average.realised_e4,
    )
