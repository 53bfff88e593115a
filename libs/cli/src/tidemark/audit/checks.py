"""The comparisons. While the fleet runs every copy moves, and so does the log; nothing is stopped for the audit.

A copy's row says at which version it stands (a ledger sequence, a revision), and is compared with the log at that very
version. Beyond being right where it stands, it must reach the version that the log had when the audit began.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tidemark.audit.fold import Balance, Findings, LedgerFold, Posted
from tidemark.audit.rows import ExecutionRow

Place = tuple[int, int]
"""Partition and offset."""
Copies = Mapping[str, tuple[int, Any]]
"""Key → version and row of a copy."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One line of the report: what was compared, how many rows, what differed. ``skipped`` says why nothing was."""

    name: str
    compared: int
    findings: Findings = field(default_factory=Findings)
    skipped: str = ""

    @property
    def is_sound(self) -> bool:
        return not self.findings.count

    def as_dict(self) -> dict[str, Any]:
        found = {"differences": self.findings.count, "examples": self.findings.examples}
        return {"name": self.name, "compared": self.compared, **found, "skipped": self.skipped}


class Truth(Protocol):
    """A fold of the log, by key and version."""

    def want(self, key: str, version: int) -> None:
        """Remember the row at this version when it comes by."""

    def known(self) -> Iterable[str]: ...

    def newest(self, key: str) -> int:
        """The version that the fold has reached; 0 for a key it does not know."""
        ...

    def at(self, key: str, version: int) -> Any | None:
        """The row at a version; None where it was not remembered, or has not come yet."""
        ...


class CopyCheck:
    """One copy against its truth, in as many rounds as it takes: ``note``, read the log on, ``compare``."""

    def __init__(self, name: str, truth: Truth, required: Callable[[str], bool] = lambda _: True) -> None:
        self.name = name
        self._truth = truth
        self._required = required
        self._targets: dict[str, int] | None = None
        self._done: set[str] = set()
        self._waiting: dict[str, str] = {}
        self._findings = Findings()
        self._wrong: set[str] = set()

    @property
    def is_settled(self) -> bool:
        """Nothing left that another round could show right."""
        return self._targets is not None and not self._waiting

    def note(self, copies: Copies) -> None:
        """Tells the fold where the copy stands, before the log is read on."""
        for key, (version, _) in copies.items():
            self._truth.want(key, version)

    def compare(self, copies: Copies) -> None:
        """Compares what was noted, now that the log has been read past it."""
        if self._targets is None:
            self._targets = {key: self._truth.newest(key) for key in self._truth.known()}
        self._waiting.clear()
        for key, (version, row) in copies.items():
            if key not in self._done:
                self._compare_row(key, version, row)
        for key in self._targets.keys() - copies.keys() - self._done:
            if self._required(key):
                self._waiting[key] = "missing"

    def _compare_row(self, key: str, version: int, row: Any) -> None:
        assert self._targets is not None
        truth = self._truth.at(key, version)
        newest = self._truth.newest(key)
        if truth is None:
            self._waiting[key] = f"stands at {version}, the log at {newest}"
        elif truth != row:
            if key not in self._wrong:
                self._wrong.add(key)
                self._findings.add(f"{key} at {version}: {describe(row, truth)}")
        elif version < self._targets.get(key, 0):
            self._waiting[key] = f"stands at {version}, the log at {newest}"
        else:
            self._done.add(key)

    def result(self) -> Comparison:
        """What remains waiting now is a difference."""
        findings = Findings(self._findings.count, list(self._findings.examples))
        findings.extend(f"{key}: {why}" for key, why in sorted(self._waiting.items()))
        return Comparison(self.name, len(self._done) + len(self._wrong), findings)


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


def ledger_itself(fold: LedgerFold) -> list[Comparison]:
    """What must hold inside the ledger, whatever anybody else says."""
    sums = Findings()
    sums.extend(f"{asset}: all postings sum to {total}" for asset, total in fold.total.items() if total)
    return [
        Comparison("every ledger entry balances", fold.entries, fold.unbalanced),
        Comparison("all entries sum to zero, per asset", len(fold.total), sums),
        Comparison("no gap in any account's sequence", len(fold.accounts), fold.gaps),
        Comparison("no account overdrawn at any entry", fold.entries, fold.overdrawn),
        Comparison("every execution posted once", len(fold.posted), fold.posted_twice),
    ]


class Answers:
    """Every request answered exactly once: by one decision that names its place, or by one dead letter."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._asked: dict[Place, str] = {}
        self._answered: Counter[Place] = Counter()
        self._findings = Findings()
        self._pending_names: dict[Place, str] = {}

    def ask(self, place: Place, request_id: str) -> None:
        """A request stands at this place; ``request_id`` is empty where the record cannot be read."""
        self._asked[place] = request_id
        given = self._pending_names.pop(place, None)
        if given is not None:
            self._check(place, given)

    def answer(self, place: Place, request_id: str) -> None:
        """An answer names this place and this request."""
        self._answered[place] += 1
        if place in self._asked:
            self._check(place, request_id)
        else:
            self._pending_names[place] = request_id

    def dead(self, place: Place) -> None:
        """A dead letter names this place."""
        self._answered[place] += 1

    def _check(self, place: Place, given: str) -> None:
        asked = self._asked[place]
        if asked and asked != given:
            self._findings.add(f"{place} asked for {asked}, answered was {given}")

    def unanswered(self) -> set[Place]:
        return self._asked.keys() - self._answered.keys()

    def result(self) -> Comparison:
        findings = Findings(self._findings.count, list(self._findings.examples))
        for place, request_id in self._asked.items():
            if self._answered[place] != 1:
                findings.add(f"{request_id or 'unreadable request'} at {place} has {self._answered[place]} answers")
        return Comparison(self._name, len(self._asked), findings)


def unposted(executions: Mapping[str, ExecutionRow], posted: Mapping[str, Posted]) -> set[str]:
    """Trades not in the ledger, and postings that the venue never said: for now, or for good."""
    trades = {execution_id for execution_id, row in executions.items() if row.is_trade}
    return trades ^ posted.keys()


def fills(executions: Mapping[str, ExecutionRow], posted: Mapping[str, Posted]) -> Comparison:
    """Every trade of the venue is one posting of the same money and shares, and the other way round."""
    findings = Findings()
    trades = {execution_id: row for execution_id, row in executions.items() if row.is_trade}
    for execution_id, trade in trades.items():
        entry = posted.get(execution_id)
        if entry is None:
            findings.add(f"{execution_id} of {trade.order_id} is not in the ledger")
        elif (entry.order_id, entry.shares, entry.cash_e4) != (trade.order_id, trade.shares, trade.cash_e4):
            findings.add(
                f"{execution_id}: traded {trade.shares} shares for {trade.cash_e4} e4 on {trade.order_id}, "
                f"posted {entry.shares} for {entry.cash_e4} on {entry.order_id}"
            )
    findings.extend(f"{e} is in the ledger, but the venue never said it" for e in posted.keys() - trades.keys())
    return Comparison("every fill posted, every posting a fill", len(trades), findings)


def violations(comparisons: Sequence[Comparison]) -> int:
    """How many differences there are in all."""
    return sum(comparison.findings.count for comparison in comparisons)
