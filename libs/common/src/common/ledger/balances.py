"""Books of one account from its entries, refused at the first that cannot follow: the referee of the gate's tests."""

from collections.abc import Iterable

from common.contracts.events import CASH, Book, LedgerEntry


class LedgerBroken(ValueError):
    """An entry that cannot follow the ones before it: a gap, a repeat, an imbalance, an overdraft."""


class Balances:
    """One account's books, folded from its entries in their order."""

    __slots__ = ("account_id", "amounts", "seq")

    def __init__(self, account_id: str) -> None:
        self.account_id = account_id
        self.seq = 0
        self.amounts: dict[tuple[str, Book], int] = {}
        """(asset, book) → e4 currency units for CASH, shares otherwise. Zero amounts are left out."""

    def apply(self, entry: LedgerEntry) -> None:
        """Takes the next entry. Raises LedgerBroken, and then stays as it was."""
        if entry.account_id != self.account_id:
            raise LedgerBroken(f"an entry of {entry.account_id} among those of {self.account_id}")
        if entry.seq != self.seq + 1:
            raise LedgerBroken(f"{self.account_id}: entry {entry.seq} after {self.seq}")
        changes: dict[tuple[str, Book], int] = {}
        sums: dict[str, int] = {}
        for posting in entry.postings:
            place = (posting.asset, posting.book)
            changes[place] = changes.get(place, 0) + posting.amount
            sums[posting.asset] = sums.get(posting.asset, 0) + posting.amount
        if not sums or any(sums.values()):
            raise LedgerBroken(f"{self.account_id}: entry {entry.seq} does not balance: {sums}")
        after = {place: self.amounts.get(place, 0) + change for place, change in changes.items()}
        for (asset, book), amount in after.items():
            if amount < 0 and book in (Book.AVAILABLE, Book.RESERVED):
                raise LedgerBroken(f"{self.account_id}: entry {entry.seq} leaves {amount} {asset} {book}")
        for place, amount in after.items():
            if amount:
                self.amounts[place] = amount
            else:
                self.amounts.pop(place, None)
        self.seq = entry.seq

    def available(self, asset: str) -> int:
        """Free to use: e4 currency units for CASH, shares otherwise."""
        return self.amounts.get((asset, Book.AVAILABLE), 0)

    def reserved(self, asset: str) -> int:
        """Held for open orders."""
        return self.amounts.get((asset, Book.RESERVED), 0)

    def total(self, asset: str) -> int:
        """The account's amount of an asset, reserved or not."""
        return self.available(asset) + self.reserved(asset)

    @property
    def cash_e4(self) -> int:
        return self.total(CASH)

    @property
    def reserved_cash_e4(self) -> int:
        return self.reserved(CASH)

    def positions(self) -> dict[str, tuple[int, int]]:
        """Symbol → (qty, reserved_qty), of every symbol that the account has any of."""
        symbols = {a for a, book in self.amounts if a != CASH and book in (Book.AVAILABLE, Book.RESERVED)}
        return {symbol: (self.total(symbol), self.reserved(symbol)) for symbol in sorted(symbols)}

    def sums(self) -> dict[str, int]:
        """Asset → sum over all books; zero for each, at any point."""
        sums: dict[str, int] = {}
        for (asset, _book), amount in self.amounts.items():
            sums[asset] = sums.get(asset, 0) + amount
        return sums


def fold(entries: Iterable[LedgerEntry]) -> dict[str, Balances]:
    """Account id → balances. Entries of one account must be in order; accounts may be mixed. Raises LedgerBroken."""
    accounts: dict[str, Balances] = {}
    for entry in entries:
        account = accounts.get(entry.account_id)
        if account is None:
            account = accounts[entry.account_id] = Balances(entry.account_id)
        account.apply(entry)
    return accounts
