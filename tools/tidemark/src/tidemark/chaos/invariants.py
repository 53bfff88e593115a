"""Invariants of the committed log at any moment, checked record by record while the storm goes on.

It shares no code with the gate or with the order lifecycle: a fold of its own sees what a consumer of the log sees.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from common.contracts.events import CASH, Book, Decision, EntryKind, ExecutionReport, LedgerEntry, OrderEvent
from common.contracts.topics import ORDERS_EVENTS, ORDERS_EXECUTIONS, ORDERS_INTENTS, RISK_LEDGER
from common.contracts.values import order_id_of
from common.ledger.fold import Findings, LedgerFold
from streams.model.dead_letters import letter_of
from streams.model.message import Message

from tidemark.audit.checks import Place

INTENTS_DEAD = ORDERS_INTENTS.dead_letter_topic


@dataclass(frozen=True, slots=True)
class Asked:
    """An intent in the log."""

    order_id: str
    """Empty where the record cannot be read."""
    sent_ns: int


@dataclass(slots=True)
class Invariants:
    """Applies committed records in the order of each partition. What is broken is counted, and never forgotten."""

    ledger: LedgerFold = field(default_factory=LedgerFold)
    intents: dict[Place, Asked] = field(default_factory=dict)
    duplicates: Findings = field(default_factory=Findings)
    """Answers, execution reports and order events that were committed a second time."""
    revision_gaps: Findings = field(default_factory=Findings)
    unreadable: Findings = field(default_factory=Findings)
    doubled_e4: int = 0
    """Cash that fills moved which were in the ledger already."""
    _answers: Counter[Place] = field(default_factory=Counter)
    _accepted: set[str] = field(default_factory=set)
    _revisions: dict[str, int] = field(default_factory=dict)
    _executions: set[str] = field(default_factory=set)

    def apply(self, message: Message) -> None:
        """Takes one committed record of intents, their dead letters, decisions, ledger, executions or order events."""
        place = (message.partition, message.offset)
        if message.topic is INTENTS_DEAD:
            self._answer(letter_of(message).place, "a dead letter")
            return
        try:
            body = message.body
        except ValueError as error:
            if message.topic is ORDERS_INTENTS:
                self.intents[place] = Asked("", 0)  # poison: a dead letter must answer it
            else:
                self.unreadable.add(f"{message.topic.name} {place}: {str(error).splitlines()[0]}")
            return
        if message.topic is ORDERS_INTENTS:
            self.intents[place] = Asked(order_id_of(body.account_id, body.client_order_id), body.sent_ns)
        elif message.topic is RISK_LEDGER:
            self._entry(body)
        elif message.topic is ORDERS_EVENTS:
            self._event(body)
        elif message.topic is ORDERS_EXECUTIONS:
            self._execution(body)
        elif isinstance(body, Decision):
            self._answer((body.intent_partition, body.intent_offset), body.order_id)
            if body.accepted:
                self._accepted.add(body.order_id)

    def _answer(self, place: Place, what: str) -> None:
        self._answers[place] += 1
        if self._answers[place] > 1:
            self.duplicates.add(f"the intent at {place} is answered {self._answers[place]} times: {what}")

    def _entry(self, entry: LedgerEntry) -> None:
        by_venue = entry.command_id is None
        key = (entry.order_id or "", entry.execution_id or "")
        if entry.kind is EntryKind.POST and by_venue and key in self.ledger.posted:
            own = [p.amount for p in entry.postings if p.asset == CASH and p.book in (Book.AVAILABLE, Book.RESERVED)]
            self.doubled_e4 += abs(sum(own))
        self.ledger.apply(entry)

    def _event(self, event: OrderEvent) -> None:
        last = self._revisions.get(event.order_id, 0)
        if event.revision <= last:
            self.duplicates.add(f"{event.order_id}: revision {event.revision} after {last}")
        elif event.revision > last + 1:
            self.revision_gaps.add(f"{event.order_id}: revision {event.revision} after {last}")
        self._revisions[event.order_id] = max(last, event.revision)

    def _execution(self, report: ExecutionReport) -> None:
        if report.execution_id in self._executions:
            self.duplicates.add(f"{report.execution_id} of {report.order_id} is reported again")
        self._executions.add(report.execution_id)

    # --- what came out -----------------------------------------------------------------------------------------------

    @property
    def money_created_e4(self) -> int:
        """Cash that came from nowhere, or went there."""
        return abs(self.ledger.ledger_sum_e4) + self.doubled_e4

    @property
    def sequence_gaps(self) -> int:
        """Gaps and repeats in accounts' ledger sequences, and gaps in orders' revisions."""
        return self.ledger.gaps.count + self.revision_gaps.count

    def broken(self) -> Mapping[str, Findings]:
        """Everything that must be empty at any moment of the storm."""
        fold = self.ledger
        return {
            "answered or reported twice": self.duplicates,
            "gap in an account's sequence": fold.gaps,
            "gap in an order's revisions": self.revision_gaps,
            "entry that does not balance": fold.unbalanced,
            "account overdrawn": fold.overdrawn,
            "execution posted twice": fold.posted_twice,
            "unreadable record": self.unreadable,
        }

    def count(self) -> int:
        """Number of broken invariants so far."""
        return sum(findings.count for findings in self.broken().values())

    def unanswered(self) -> Iterator[Asked]:
        """Intents in the log without an answer: for now, or for good."""
        return (asked for place, asked in self.intents.items() if not self._answers[place])

    def without_event(self) -> set[str]:
        """Accepted orders of which the lifecycle has said nothing."""
        return self._accepted - self._revisions.keys()

    def missing(self, acknowledged: Iterable[str]) -> set[str]:
        """Orders that a client was told are safe, and that are not in the log."""
        return set(acknowledged) - {asked.order_id for asked in self.intents.values()}

    def is_quiet(self) -> bool:
        """Whether nothing is under way any more."""
        return not self.without_event() and next(self.unanswered(), None) is None

    def summary(self) -> dict[str, Any]:
        """The figures for a report."""
        return {
            "intents": len(self.intents),
            "duplicates": self.duplicates.count + self.ledger.posted_twice.count,
            "money_created_e4": self.money_created_e4,
            "sequence_gaps": self.sequence_gaps,
        }
