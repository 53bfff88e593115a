"""The fold that stores are judged by. It shares no code with the gate, so that a fault of one shows in the other."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from common.contracts.events import CASH, Book, EntryKind, LedgerEntry

KEPT_MAX: Final = 20

Amounts = Mapping[str, int]
"""Asset → amount; cash in e4 currency units, everything else in shares. Zero amounts are left out."""


@dataclass(frozen=True, slots=True)
class Balance:
    """One account after ``seq`` ledger entries."""

    seq: int
    available: Amounts
    reserved: Amounts


@dataclass(slots=True)
class Findings:
    """Differences: the first few in words, and how many there are."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        self.count += 1
        if len(self.examples) < KEPT_MAX:
            self.examples.append(text)

    def extend(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.add(text)


@dataclass(slots=True)
class Account:
    """Running state of one account."""

    seq: int = 0
    available: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    reserved: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def balance(self) -> Balance:
        return Balance(self.seq, nonzero(self.available), nonzero(self.reserved))


@dataclass(frozen=True, slots=True)
class Posted:
    """Postings of one execution in the ledger."""

    account_id: str
    order_id: str
    cash_e4: int
    """Change of the account's cash, available and reserved together."""
    shares: int
    """Change of the account's position."""


def nonzero(amounts: Mapping[str, int]) -> dict[str, int]:
    """The amounts that are not zero."""
    return {asset: amount for asset, amount in amounts.items() if amount}


def describe(row: Any, truth: Any) -> str:
    """The first column, or book and asset, in which two rows differ."""
    if isinstance(truth, Balance):
        for book in ("available", "reserved"):
            have, want = getattr(row, book), getattr(truth, book)
            for asset in sorted(have.keys() | want.keys()):
                if have.get(asset, 0) != want.get(asset, 0):
                    return f"{book} {asset} is {have.get(asset, 0)}, the ledger says {want.get(asset, 0)}"
    for name in getattr(truth, "_fields", ()):
        if getattr(row, name) != getattr(truth, name):
            return f"{name} is {getattr(row, name)!r}, the log says {getattr(truth, name)!r}"
    return f"{row} against {truth}"


ExecutionKey = tuple[str, str]
"""Order and execution id: a venue may use an id again for another order, for instance on another day."""


class LedgerFold:
    """Applies entries in the order of each account and keeps what the comparisons need.

    A ``Truth`` of balances by account, versioned by the ledger sequence.
    """

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.entries = 0
        self.total: dict[str, int] = defaultdict(int)
        self.remembered: dict[tuple[str, int], Balance] = {}
        self.posted: dict[ExecutionKey, Posted] = {}
        """Fills by execution."""
        self.busted: dict[ExecutionKey, Posted] = {}
        """Fills that were taken back, by the execution that says so."""
        self.by_hand: dict[str, list[Posted]] = {}
        """Fills, and what was taken back, that an operator has booked; by command."""
        self.gaps = Findings()
        self.unbalanced = Findings()
        self.overdrawn = Findings()
        self.posted_twice = Findings()
        self._wanted: dict[str, set[int]] = {}

    @property
    def ledger_sum_e4(self) -> int:
        """Sum of all cash postings; zero in a sound ledger."""
        return self.total[CASH]

    def apply(self, entry: LedgerEntry) -> None:
        """Books one entry. What is wrong with it is noted, and it is booked all the same."""
        account = self.accounts.setdefault(entry.account_id, Account())
        if entry.seq != account.seq + 1:
            self.gaps.add(f"{entry.account_id}: entry {entry.seq} follows {account.seq}")
        account.seq = entry.seq
        self.entries += 1
        sums: dict[str, int] = defaultdict(int)
        for posting in entry.postings:
            sums[posting.asset] += posting.amount
            self.total[posting.asset] += posting.amount
            self._book(entry, account, posting.book, posting.asset, posting.amount)
        if not sums or any(sums.values()):
            self.unbalanced.add(f"{entry.account_id} entry {entry.seq}: postings sum to {nonzero(sums)}")
        if entry.kind in (EntryKind.POST, EntryKind.BUST):
            self._post(entry)
        if entry.seq in self._wanted.get(entry.account_id, ()):
            self.remembered[entry.account_id, entry.seq] = account.balance()

    def _book(self, entry: LedgerEntry, account: Account, book: Book, asset: str, amount: int) -> None:
        if book not in (Book.AVAILABLE, Book.RESERVED):
            return
        side = account.available if book is Book.AVAILABLE else account.reserved
        side[asset] += amount
        if side[asset] < 0 and amount < 0:
            self.overdrawn.add(f"{entry.account_id} entry {entry.seq}: {book} {asset} falls to {side[asset]}")

    def _post(self, entry: LedgerEntry) -> None:
        if entry.execution_id is None:
            self.posted_twice.add(f"{entry.account_id} entry {entry.seq}: a {entry.kind} without an execution")
            return
        own = [p for p in entry.postings if p.book in (Book.AVAILABLE, Book.RESERVED)]
        posted = Posted(
            entry.account_id,
            entry.order_id or "",
            sum(p.amount for p in own if p.asset == CASH),
            sum(p.amount for p in own if p.asset != CASH),
        )
        if entry.command_id is not None:
            self.by_hand.setdefault(entry.command_id, []).append(posted)
            return
        moved = self.posted if entry.kind is EntryKind.POST else self.busted
        key = (posted.order_id, entry.execution_id)
        if key in moved:
            self.posted_twice.add(f"{entry.account_id} entry {entry.seq}: {entry.execution_id} is posted again")
        moved[key] = posted

    # --- Truth -----------------------------------------------------------------------------------------------------

    is_historic: Final = False
    is_complete: Final = True

    def want(self, key: str, version: int) -> None:
        """Remember the balance at this sequence when it comes by."""
        if version > self.newest(key):
            self._wanted.setdefault(key, set()).add(version)

    def known(self) -> Iterable[str]:
        return self.accounts.keys()

    def newest(self, key: str) -> int:
        account = self.accounts.get(key)
        return account.seq if account is not None else 0

    def at(self, key: str, version: int) -> Balance | None:
        """The balance after so many entries; None where that point was not wanted, or has not come yet."""
        if version == 0:
            return Balance(0, {}, {})
        account = self.accounts.get(key)
        if account is not None and account.seq == version:
            return account.balance()
        return self.remembered.get((key, version))
