"""Trades against postings: what a venue said must be in the ledger, or be a break that a person sees, within a bound.

The gate posts a trade, or refuses it and says so on ``risk.breaks``. A report for which neither came is money that the
fleet knows nothing of: a dead letter, a gate that stands still, a rule that two services see differently.
"""

import contextlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from common.contracts.breaks import BreakResolution, ExecutionBreak
from common.contracts.events import CASH, Book, EntryKind, ExecType, ExecutionReport, LedgerEntry
from common.contracts.views import FILLS_RETAINED
from common.ledger.rows import ExecutionRow, execution_row

from auditor.domain.place import Place

NAMED_MAX: Final = 20
FILLS_REQUIRED: Final = FILLS_RETAINED // 2
"""Number of an account's newest fills that its view must have. It keeps more, but a fill that was booked by hand comes
late and pushes an older one out.
"""
REFUSED_MAX: Final = 1_000
"""Breaks remembered, in case their reports are read later than they."""


def moved_by(entry: LedgerEntry) -> tuple[int, int]:
    """Shares and cash of the account that an entry moves."""
    own = [posting for posting in entry.postings if posting.book in (Book.AVAILABLE, Book.RESERVED)]
    cash_e4 = sum(posting.amount for posting in own if posting.asset == CASH)
    return sum(posting.amount for posting in own if posting.asset != CASH), cash_e4


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A trade that is in no book yet, or a posting whose trade was not read yet."""

    execution_id: str
    order_id: str
    since_s: float
    moved: tuple[int, int]
    """Shares and cash of the account."""
    place: tuple[int, int]
    """Partition and offset of the report, or of the entry."""
    by_hand: bool = False


def _said(place: tuple[int, int], report: ExecutionReport, now_s: float) -> _Waiting:
    row = execution_row(report)
    return _Waiting(report.execution_id, report.order_id, now_s, (row.shares, row.cash_e4), place)


class ExecutionTruth:
    """The newest executions by id: a ``Truth`` of rows that never change, so their version is always 1."""

    def __init__(self, executions_max: int) -> None:
        self._max = executions_max
        self._rows: dict[str, ExecutionRow] = {}
        self._order: deque[str] = deque()
        self._newest_of: dict[str, deque[str]] = {}
        self.places: dict[str, Place] = {}
        self._refused: deque[Place] = deque(maxlen=REFUSED_MAX)
        self.changed: set[str] = set()
        """Ids that were added since somebody asked."""
        self.is_complete = True
        """Whether every execution there ever was is among them."""

    def add(self, report: ExecutionReport, place: Place, is_left_out: bool = False) -> bool:
        """Whether the id is new. A report that is sent again changes nothing, whatever it says.

        ``is_left_out``: no copy can hold it, so none is asked for.
        """
        if report.execution_id in self._rows:
            return False
        if is_left_out:
            self.is_complete = False
            return True
        self._rows[report.execution_id] = execution_row(report)
        self.places[report.execution_id] = place
        self._order.append(report.execution_id)
        self.changed.add(report.execution_id)
        if report.ref_execution_id:
            self.withdraw(report.account_id, report.ref_execution_id)
        if report.exec_type is ExecType.TRADE and place not in self._refused:
            newest = self._newest_of.setdefault(report.account_id, deque(maxlen=FILLS_REQUIRED))
            newest.append(report.execution_id)
        if len(self._order) > self._max:
            gone = self._order.popleft()
            del self._rows[gone], self.places[gone]
            self.changed.discard(gone)
            self.is_complete = False
        return True

    def refuse(self, place: Place, report: ExecutionReport) -> None:
        """The books refuse the report at this place: no view has to show it."""
        self._refused.append(place)
        if self.places.get(report.execution_id) == place:
            self.withdraw(report.account_id, report.execution_id)

    def withdraw(self, account_id: str, execution_id: str) -> None:
        """A trade that was refused or taken back: no view has to show it."""
        with contextlib.suppress(KeyError, ValueError):
            self._newest_of[account_id].remove(execution_id)

    def __contains__(self, execution_id: str) -> bool:
        return execution_id in self._rows

    def shown(self, account_id: str) -> list[str]:
        """The trades of an account that its view must have, those that are still remembered."""
        return [key for key in self._newest_of.get(account_id, ()) if key in self._rows]

    def known(self) -> Iterable[str]:
        return self._rows.keys()

    def account_of(self, key: str) -> str:
        row = self._rows.get(key)
        return row.account_id if row is not None else ""

    is_historic: Final = False

    def want(self, key: str, version: int) -> None:
        pass  # a row is there or is not

    def newest(self, key: str) -> int:
        return 1 if key in self._rows else 0

    def at(self, key: str, version: int) -> ExecutionRow | None:
        return self._rows.get(key) if version == 1 else None

    def forget(self, key: str, version: int) -> None:
        pass


class FillMatch:
    """Trades and postings that wait for their other half, and the breaks that are open."""

    def __init__(self, executions: ExecutionTruth) -> None:
        self.open_breaks: dict[str, str] = {}
        """Break → its execution id."""
        self.knows_every_trade = True
        """Whether a posting without its trade is wrong: not where the log no longer has the oldest trades."""
        self._executions = executions
        self._trades: dict[tuple[int, int], _Waiting] = {}
        self._places: dict[str, tuple[int, int]] = {}
        self._postings: dict[str, _Waiting] = {}
        self._contradictions: list[tuple[int, int, str]] = []

    def trade(self, place: tuple[int, int], report: ExecutionReport, is_new: bool, now_s: float) -> None:
        """A report of the venue at (partition, offset) of ``orders.executions``; ``is_new``: its id was not used."""
        if (posting := self._postings.pop(report.execution_id, None)) is not None:
            if posting.order_id == report.order_id:
                self._compare(_said(place, report, now_s), posting)
            return
        if report.exec_type is not ExecType.TRADE:
            return
        if not is_new and report.execution_id not in self._places:
            return  # sent again; where it says something else, the gate opens a break, which is counted
        if f"{place[0]}-{place[1]}" in self.open_breaks:
            return
        self._trades[place] = _said(place, report, now_s)
        self._places.setdefault(report.execution_id, place)

    def posting(self, entry: LedgerEntry, now_s: float, at: tuple[int, int] = (0, 0)) -> None:
        """An entry of the ledger, at (partition, offset); one that posts a trade settles it."""
        if entry.kind is not EntryKind.POST or entry.execution_id is None:
            return
        order_id, by_hand = entry.order_id or "", entry.command_id is not None
        posting = _Waiting(entry.execution_id, order_id, now_s, moved_by(entry), at, by_hand)
        place = self._places.pop(entry.execution_id, None)
        if place is not None:
            trade = self._trades.pop(place, None)
            if trade is not None and trade.order_id == order_id:
                self._compare(trade, posting)
        elif not self.knows_every_trade:
            return
        elif entry.execution_id not in self._executions and entry.execution_id not in self.open_breaks.values():
            self._postings[entry.execution_id] = posting

    def _compare(self, trade: _Waiting, posting: _Waiting) -> None:
        if not posting.by_hand and trade.moved != posting.moved:
            text = f"{trade.execution_id} of {trade.order_id} moved {trade.moved}, and {posting.moved} was posted"
            self._contradictions.append((*posting.place, text))

    def refusal(self, body: ExecutionBreak | BreakResolution) -> None:
        """A break was opened: its report is accounted for. Or it was resolved."""
        if isinstance(body, BreakResolution):
            self.open_breaks.pop(body.break_id, None)
            return
        self.open_breaks[body.break_id] = body.report.execution_id
        partition, _, offset = body.break_id.partition("-")
        waiting = self._trades.pop((int(partition), int(offset)), None)
        if waiting is not None:
            self._places.pop(waiting.execution_id, None)

    def take_contradictions(self) -> list[tuple[int, int, str]]:
        """Postings that differ from their trade, since somebody asked: where they stand, and how they do."""
        taken, self._contradictions = self._contradictions, []
        return taken

    def unsaid(self, before_s: float) -> list[tuple[int, int, str]]:
        """Postings of the gate's own, read before then, whose trade was not read: where they stand, and of what."""
        waiting = [w for w in self._postings.values() if not w.by_hand and w.since_s < before_s]
        return [(*w.place, f"{w.execution_id} of {w.order_id} is posted, and no venue has said it") for w in waiting]

    def overdue(self, now_s: float, bound_s: float, not_before_s: float = 0.0) -> tuple[int, list[str]]:
        """How many have waited too long, and the first in words. None has waited since before ``not_before_s``."""
        late = [(w, "in no ledger entry and in no break") for w in self._trades.values()]
        late += [(w, "posted, but the venue never said it") for w in self._postings.values()]
        late = [(w, text) for w, text in late if now_s - max(w.since_s, not_before_s) >= bound_s]
        words = [f"{w.execution_id} of {w.order_id}: {text}" for w, text in late[:NAMED_MAX]]
        return len(late), words
