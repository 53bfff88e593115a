"""Walks through the append-only tables of the projection, page after page, from the first row to the last and again.

Rows are collected by key (an account, a block of the log) until the next key begins; then the key is compared as a
whole, at the number of rows that it has. At the end of a round, keys of which there was no row at all are missing, if
the projection had come past them when the round began.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Collection
from typing import Final, TypeAlias

import asyncpg
from common.contracts.topics import RISK_DECISIONS
from common.ledger.digests import COMMAND_RESULTS, DECISIONS, LEDGER_ENTRIES, digest_sql, summed
from common.ledger.fold import Balance, nonzero

from auditor.domain.compare import Kind, Seen
from auditor.domain.place import Place, Positions
from auditor.row_keys import Block
from auditor.truth import BLOCK_OFFSETS, PlacedSums, block_of

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Reached = Callable[[str, Place], bool]
ENTRIES_OF_MAX: Final = 5_000
"""Rows read at a look for accounts that are asked for by name."""
_ENTRIES: Final = f"SELECT account_id, seq, postings, {digest_sql(LEDGER_ENTRIES)} AS digest FROM ledger_entries"
_ENTRY_PAGE: Final = f"{_ENTRIES} WHERE (account_id, seq) > ($1, $2) ORDER BY account_id, seq LIMIT $3"
_ENTRIES_OF: Final = f"{_ENTRIES} WHERE account_id = ANY($1) ORDER BY account_id, seq LIMIT $2"


def _answers(table: str, columns: tuple[str, ...]) -> str:
    return f"SELECT partition, record_offset, {digest_sql(columns)} AS digest FROM {table}"


class Round:
    """Which keys must be met before the round is over."""

    def __init__(self, kind: str, truth: PlacedSums) -> None:
        self._kind = kind
        self._truth = truth
        self._expected: set[str] = set()

    def begin(self, reached: Reached) -> None:
        places = self._truth.places
        self._expected = {key for key in self._truth.known() if reached(self._kind, places[key])}

    def meet(self, key: str) -> None:
        self._expected.discard(key)

    def missing(self) -> list[Seen]:
        return [Seen(self._kind, key, 0, None) for key in self._expected]


class EntryFold:
    """Folds the projection's own copy of one account's ledger, entry by entry."""

    def __init__(self, account_id: str) -> None:
        self.account_id = account_id
        self.seq = 0
        self._broken = ""
        self._amounts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._digests: list[int] = []

    def take(self, seq: int, postings: str, digest: int) -> None:
        """The account's next entry."""
        if seq != self.seq + 1 and not self._broken:
            self._broken = f"entry {seq} follows {self.seq}"
        self.seq = seq
        self._digests.append(digest)
        try:
            for posting in json.loads(postings):
                self._amounts[posting["book"]][posting["asset"]] += posting["amount"]
        except (ValueError, TypeError, KeyError) as error:
            self._broken = self._broken or f"entry {seq} has other postings: {error!r}"

    def seen(self) -> list[Seen]:
        """The account's sums, and all columns of all of its entries."""
        if not self.account_id:
            return []
        balance = Balance(self.seq, nonzero(self._amounts["AVAILABLE"]), nonzero(self._amounts["RESERVED"]))
        rows = summed(self._digests)
        return [
            Seen(Kind.ENTRIES, self.account_id, self.seq, self._broken or balance),
            Seen(Kind.ENTRY_ROWS, self.account_id, rows.number, rows),
        ]


class EntryWalk:
    """Through ``ledger_entries``, account by account."""

    def __init__(self, truth: PlacedSums) -> None:
        self._round = Round(Kind.ENTRY_ROWS, truth)
        self._fold = EntryFold("")

    async def look(self, connection: Connection, rows_max: int, reached: Reached) -> list[Seen]:
        """The next page; what it completed."""
        if not self._fold.account_id:
            self._round.begin(reached)
        seen: list[Seen] = []
        page = await connection.fetch(_ENTRY_PAGE, self._fold.account_id, self._fold.seq, rows_max)
        for account_id, seq, postings, digest in page:
            if account_id != self._fold.account_id:
                seen += self._fold.seen()
                self._fold = EntryFold(account_id)
                self._round.meet(account_id)
            self._fold.take(seq, postings, digest)
        if len(page) < rows_max:
            seen += [*self._fold.seen(), *self._round.missing()]
            self._fold = EntryFold("")
        return seen

    @staticmethod
    async def of(connection: Connection, accounts: Collection[str]) -> list[Seen]:
        """Sums of these accounts now, wherever the walk is; without those that the bound leaves incomplete."""
        page = await connection.fetch(_ENTRIES_OF, accounts, ENTRIES_OF_MAX) if accounts else []
        folds: dict[str, EntryFold] = {}
        for account_id, seq, postings, digest in page:
            folds.setdefault(account_id, EntryFold(account_id)).take(seq, postings, digest)
        if len(page) == ENTRIES_OF_MAX:
            folds.popitem()
        return [seen for fold in folds.values() for seen in fold.seen()]


class AnswerWalk:
    """Through the gate's answers of one kind, block by block of their places in the log."""

    def __init__(self, kind: str, table: str, columns: tuple[str, ...], truth: PlacedSums) -> None:
        self._kind = kind
        answers = _answers(table, columns)
        self._page = f"{answers} WHERE (partition, record_offset) > ($1, $2) ORDER BY partition, record_offset LIMIT $3"
        self._block_rows = f"{answers} WHERE partition = $1 AND record_offset >= $2 AND record_offset < $3"
        self._round = Round(kind, truth)
        self._cursor: tuple[int, int] | None = None
        self._block = ""
        self._digests: list[int] = []

    async def look(self, connection: Connection, rows_max: int, reached: Reached, starts: Positions) -> list[Seen]:
        """The next page; what it completed. Rows from before ``starts`` are not compared."""
        if self._cursor is None:
            self._round.begin(reached)
        seen: list[Seen] = []
        page = await connection.fetch(self._page, *(self._cursor or (-1, -1)), rows_max)
        for partition, offset, digest in page:
            if offset < starts.get((RISK_DECISIONS.name, partition), 0):
                continue
            block = block_of(partition, offset)
            if block != self._block:
                seen += self._done()
                self._block = block
                self._round.meet(block)
            self._digests.append(digest)
        self._cursor = (page[-1][0], page[-1][1]) if len(page) == rows_max else None
        if self._cursor is None:
            seen += [*self._done(), *self._round.missing()]
        return seen

    async def of(self, connection: Connection, blocks: Collection[Block], starts: Positions) -> list[Seen]:
        """Sums of these blocks as they are now, wherever the walk is."""
        seen = []
        for partition, first in blocks:
            begin = max(first, starts.get((RISK_DECISIONS.name, partition), 0))
            page = await connection.fetch(self._block_rows, partition, begin, first + BLOCK_OFFSETS)
            rows = summed([row[2] for row in page])
            seen.append(Seen(self._kind, block_of(partition, first), rows.number, rows))
        return seen

    def _done(self) -> list[Seen]:
        if not self._block:
            return []
        rows = summed(self._digests)
        seen = Seen(self._kind, self._block, rows.number, rows)
        self._block = ""
        self._digests.clear()
        return [seen]


def answer_walks(decisions: PlacedSums, results: PlacedSums) -> tuple[AnswerWalk, AnswerWalk]:
    """Walks over both tables of answers."""
    return (
        AnswerWalk(Kind.DECISIONS, "decisions", DECISIONS, decisions),
        AnswerWalk(Kind.RESULTS, "command_results", COMMAND_RESULTS, results),
    )
