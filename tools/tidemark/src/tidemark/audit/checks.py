"""The comparisons. While the fleet runs every copy moves, and so does the log; nothing is stopped for the audit.

A copy's row says at which version it stands (a ledger sequence, a revision), and is compared with the log at that very
version. Beyond being right where it stands, it must reach the version that the log had when the audit began.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from common.contracts.values import Side
from common.ledger.fold import ExecutionKey, Findings, LedgerFold, Posted, describe
from common.ledger.rows import BreakFold, ExecutionFold, ExecutionRow

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
        """Result, in which everything that still waits is a difference."""
        findings = Findings(self._findings.count, list(self._findings.examples))
        findings.extend(f"{key}: {why}" for key, why in sorted(self._waiting.items()))
        return Comparison(self.name, len(self._done) + len(self._wrong), findings)


class ExecutionCheck(CopyCheck):
    """Copies of executions. A copy has the rows under an id: more than one where it was used with several bodies."""

    def __init__(self, name: str, executions: ExecutionFold, required: Callable[[str], bool] = lambda _: True) -> None:
        super().__init__(name, executions, required)
        self._executions = executions

    def compare(self, copies: Copies) -> None:
        """Pairs each row with what the log says in the same words, and what is left with what is left."""
        paired: dict[str, tuple[int, Any]] = {}
        for execution_id, (version, rows) in copies.items():
            keys = list(self._executions.keys_of(execution_id)) or [execution_id]
            strange = []
            for row in rows:
                key = next((key for key in keys if self._executions.at(key, 1) == row), None)
                if key is None:
                    strange.append(row)
                else:
                    keys.remove(key)
                    paired[key] = (version, row)
            keys += [f"{execution_id} (row {number} too many)" for number in range(len(strange))]
            paired |= {key: (version, row) for key, row in zip(keys, strange, strict=False)}
        super().compare(paired)


def ledger_itself(fold: LedgerFold) -> list[Comparison]:
    """Invariants inside the ledger, whatever anybody else says."""
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
    """Every request answered exactly once: by one decision that names its place, or by one dead letter.

    While requests keep coming the newest ones are always still unanswered where the reading ends. So an answer is
    missed only by those that were in the log when ``require`` was called; two answers are too many for any.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._asked: dict[Place, str] = {}
        self._answered: Counter[Place] = Counter()
        self._findings = Findings()
        self._pending_names: dict[Place, str] = {}
        self._required: set[Place] | None = None

    def require(self) -> None:
        """Every request that was asked until now must get its answer, and no later one."""
        self._required = set(self._asked)

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
        """Required, and without an answer: for now, or for good."""
        required = self._asked.keys() if self._required is None else self._required
        return required - self._answered.keys()

    def result(self) -> Comparison:
        findings = Findings(self._findings.count, list(self._findings.examples))
        unanswered = self.unanswered()
        for place, request_id in self._asked.items():
            if place in unanswered or self._answered[place] > 1:
                findings.add(f"{request_id or 'unreadable request'} at {place} has {self._answered[place]} answers")
        return Comparison(self._name, len(self._asked), findings)


class Fills:
    """Every fill of the venue is one posting of the same money and shares, or a break, and the other way round.

    A bust takes back what was posted for the trade it names. What an operator books is what a break says it moves.
    Like answers, postings are missed only by what was in the log when ``require`` was called.
    """

    def __init__(self, executions: ExecutionFold, ledger: LedgerFold, breaks: BreakFold) -> None:
        self._executions = executions
        self._ledger = ledger
        self._breaks = breaks
        self._required: set[Hashable] | None = None

    def require(self) -> None:
        """Everything that was said or posted until now must have its counterpart."""
        self._required = {*self._executions.places, *self._executions.others, *self._moved()}

    @property
    def is_settled(self) -> bool:
        return next(self._findings(), None) is None

    def result(self) -> Comparison:
        findings = Findings()
        findings.extend(self._findings())
        compared = len(self._executions.places) + len(self._executions.others)
        return Comparison("every fill posted or a break, every posting a fill", compared, findings)

    def _moved(self) -> Iterable[Hashable]:
        ledger = self._ledger
        return {*ledger.posted, *ledger.busted, *ledger.by_hand}

    def _is_required(self, key: Hashable) -> bool:
        return self._required is None or key in self._required

    def _findings(self) -> Iterator[str]:
        executions, ledger, opened = self._executions, self._ledger, self._breaks.opened
        for key, place in executions.places.items():
            if self._is_required(key):
                yield from self._unbooked(key, executions.of_orders[key], place)
        for place, (execution_id, row) in executions.others.items():
            if place not in opened and self._is_required(place):
                yield f"{execution_id} of {row.order_id}: said again with another body at {place}, and no break"
        for key in (*ledger.posted, *ledger.busted):
            if key not in executions.of_orders and self._is_required(key):
                yield f"{key[1]} is in the ledger, but the venue never said it"
        for command_id, postings in ledger.by_hand.items():
            if self._is_required(command_id):
                yield from self._not_by_hand(command_id, postings)

    def _unbooked(self, key: ExecutionKey, row: ExecutionRow, place: str) -> Iterator[str]:
        """Parts of a report that are not in the ledger, or otherwise."""
        if place in self._breaks.opened:
            return
        execution_id = key[1]
        if row.is_trade:
            entry = self._ledger.posted.get(key)
            if entry is None:
                yield f"{execution_id} of {row.order_id} is not in the ledger"
            elif (entry.shares, entry.cash_e4) != (row.shares, row.cash_e4):
                yield (
                    f"{execution_id}: traded {row.shares} shares for {row.cash_e4} e4 on {row.order_id}, "
                    f"posted {entry.shares} for {entry.cash_e4} on {entry.order_id}"
                )
        if row.takes_back:
            taken = self._ledger.busted.get(key)
            of = self._ledger.posted.get(self._executions.refers.get(key, ("", "")))
            if taken is None or of is None:
                yield f"{execution_id} of {row.order_id} takes back a trade, and nothing was taken back"
            elif (taken.shares, taken.cash_e4) != (-of.shares, -of.cash_e4):
                yield (
                    f"{execution_id}: takes back {of.shares} shares for {of.cash_e4} e4, "
                    f"booked {taken.shares} for {taken.cash_e4}"
                )

    def _not_by_hand(self, command_id: str, postings: Sequence[Posted]) -> Iterator[str]:
        """Parts of a resolution that are booked otherwise than its break says."""
        resolution = self._breaks.resolved.get(command_id)
        if resolution is None:
            yield f"command {command_id} booked a fill, and resolved no break"
            return
        effect, side = resolution.resolved.effect, resolution.resolved.report.side
        sign = 1 if side is Side.BUY else -1
        shares = sign * (effect.fill_qty - effect.back_qty)
        cash_e4 = sign * (effect.back_qty * effect.back_price_e4 - effect.fill_qty * effect.fill_price_e4)
        booked = (sum(posted.shares for posted in postings), sum(posted.cash_e4 for posted in postings))
        if booked != (shares, cash_e4):
            yield (
                f"command {command_id} booked {booked[0]} shares for {booked[1]} e4, "
                f"its break says {shares} for {cash_e4}"
            )


def violations(comparisons: Sequence[Comparison]) -> int:
    """How many differences there are in all."""
    return sum(comparison.findings.count for comparison in comparisons)
