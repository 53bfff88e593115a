"""The committed log, folded some time behind its end.

A store is read, and says at which version of each row it stands. Because the fold is held back, it has usually not come
to that version yet: it is told to remember the row when it does, and the two are compared at that very version, however
busy the account is.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

from common.contracts.breaks import ExecutionBreak
from common.contracts.events import CommandResult, Decision, ExecutionReport, LedgerEntry, OrderEvent
from common.contracts.topics import ORDERS_EVENTS, ORDERS_EXECUTIONS, RISK_BREAKS, RISK_DECISIONS, RISK_LEDGER, Topic
from common.ledger.chain import ChainVerifier
from common.ledger.digests import RowSums, digest_of
from common.ledger.fold import Findings, LedgerFold
from common.ledger.rows import OrderFold
from streams.model.message import Message

from auditor.domain.compare import Fold, Kind
from auditor.domain.fills import ExecutionTruth, FillMatch
from auditor.domain.place import Place, Positions
from auditor.domain.statuses import StatusTruth
from auditor.proofs import LedgerProofs, Proof

TOPICS: Final[tuple[Topic, ...]] = (RISK_LEDGER, RISK_DECISIONS, ORDERS_EVENTS, ORDERS_EXECUTIONS, RISK_BREAKS)
BLOCK_OFFSETS: Final = 4_096
"""Answers of one partition are compared in blocks of so many offsets."""
HELD_MESSAGES_MAX: Final = 100_000


class AccountTruth(LedgerFold):
    """Balances by account. What a process that runs for ever cannot keep, every execution, is the audit's."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[str, Place] = {}

    def _post(self, entry: LedgerEntry) -> None:
        pass

    def forget(self, key: str, version: int) -> None:
        """The balance at this version is not wanted any more."""
        self.remembered.pop((key, version), None)
        wanted = self._wanted.get(key)
        if wanted is not None:
            wanted.discard(version)
            if not wanted:
                del self._wanted[key]


class Histories(RowSums):
    """Every column of each event of an order; the version is the revision, which counts them. Of an order whose
    beginning is not known, or of which no copy can hold an event, nothing is said.
    """

    is_complete: Final = False  # type: ignore[misc]

    def take(self, message: Message, event: OrderEvent) -> None:
        """An order's next event; one that was seen before changes nothing."""
        if event.revision != self.newest(event.order_id) + 1:
            return
        if _has_nul(message):
            self.drop(event.order_id)
        else:
            self.add(event.order_id, digest_of(event))


class OrderTruth(OrderFold):
    """Orders by id: all that are open, and the newest that ended."""

    is_historic: Final = False
    is_complete: Final = False

    def __init__(self, ended_max: int) -> None:
        super().__init__()
        self.histories = Histories()
        self.places: dict[str, Place] = {}
        self._ended: deque[str] = deque()
        self._ended_max = ended_max

    def apply(self, event: OrderEvent) -> None:
        super().apply(event)
        if self.has_ended(event.order_id):
            self._ended.append(event.order_id)
            if len(self._ended) > self._ended_max:
                gone = self._ended.popleft()
                self._newest.pop(gone, None)
                self.places.pop(gone, None)
                self.histories.drop(gone)

    def forget(self, key: str, version: int) -> None:
        """The row at this revision is not wanted any more."""
        self._remembered.pop((key, version), None)
        wanted = self._wanted.get(key)
        if wanted is not None:
            wanted.discard(version)
            if not wanted:
                del self._wanted[key]

    def account_of(self, key: str) -> str:
        """The account in an order id; the id itself says it."""
        return key.partition(".")[0]


class PlacedSums(RowSums):
    """Sums of rows, with the place of each key's newest record."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[str, Place] = {}

    def take(self, key: str, message: Message, chain_seq: int = 0) -> None:
        """A record that a table has a row of."""
        self.add(key, digest_of(message.body))
        self.places[key] = Place(message.partition, message.offset, chain_seq)


def block_of(partition: int, offset: int) -> str:
    """The block in which an answer is compared, by its place on ``risk.decisions``."""
    return f"{partition}/{offset // BLOCK_OFFSETS * BLOCK_OFFSETS}"


class LogTruth:
    """All folds, the records that wait to be folded, and the keys that changed since somebody asked."""

    def __init__(self, orders_max: int, executions_max: int = 200_000) -> None:
        self.accounts = AccountTruth()
        self.entries = PlacedSums()
        """By account: every column of its ledger entries."""
        self.orders = OrderTruth(orders_max)
        self.executions = ExecutionTruth(executions_max)
        self.decisions = PlacedSums()
        self.results = PlacedSums()
        """By block of offsets: every column of the gate's answers."""
        self.matched = FillMatch(self.executions)
        self.statuses = StatusTruth()
        self.starts: Positions = {}
        """First offsets of the log when it was first read: what stood before is not known."""
        self.chain = ChainVerifier()
        self.proofs = LedgerProofs()
        self._reads_every_trade = True
        self.repeated = Findings()
        self.unreadable = Findings()
        self.changed_accounts: set[str] = set()
        self.changed_orders: set[str] = set()
        self.records = 0
        self.positions: dict[tuple[str, int], int] = {}
        """Positions of the fold: the next offset per (topic, partition), markers included."""
        self._held: deque[tuple[float, Sequence[Message], Positions]] = deque()
        self._held_messages = 0
        self._answered: dict[tuple[str, int], int] = {}

    def begin(self, starts: Positions) -> None:
        """Reading begins at the first records that the log still has."""
        self.starts = dict(starts)
        gone = {topic for (topic, _), offset in starts.items() if offset}
        self.executions.is_complete = ORDERS_EXECUTIONS.name not in gone
        self.matched.knows_every_trade = self.executions.is_complete
        self.statuses.begin(starts)

    @property
    def folds(self) -> Mapping[str, Fold]:
        """The fold that rows of each kind (``compare``) are compared with."""
        return {
            Kind.ACCOUNT: self.accounts,
            Kind.ENTRIES: self.accounts,
            Kind.ENTRY_ROWS: self.entries,
            Kind.ORDER: self.orders,
            Kind.HISTORY: self.orders.histories,
            Kind.EXECUTION: self.executions,
            Kind.DECISIONS: self.decisions,
            Kind.RESULTS: self.results,
            Kind.STATUS: self.statuses,
        }

    def place(self, kind: str, key: str) -> Place:
        """Place of the newest record of a key that a row of this kind (``compare``) is made of."""
        places: dict[str, dict[str, Place]] = {
            Kind.ORDER: self.orders.places,
            Kind.HISTORY: self.orders.places,
            Kind.EXECUTION: self.executions.places,
            Kind.DECISIONS: self.decisions.places,
            Kind.RESULTS: self.results.places,
        }
        return places.get(kind, self.accounts.places)[key]

    # --- the log ---------------------------------------------------------------------------------------------------

    def hold(self, messages: Sequence[Message], positions: Positions, now_s: float) -> None:
        """Takes a batch that was read at ``now_s``; ``positions`` stand behind it."""
        self._held.append((now_s, messages, positions))
        self._held_messages += len(messages)

    @property
    def waiting(self) -> int:
        """Records that are held back."""
        return self._held_messages

    def next_due(self, before_s: float) -> Sequence[Message] | None:
        """Folds the oldest batch, if it was read before ``before_s`` or there is no room for it; else None."""
        if not self._held or (self._held[0][0] > before_s and self._held_messages <= HELD_MESSAGES_MAX):
            return None
        _, messages, positions = self._held.popleft()
        self._held_messages -= len(messages)
        for message in messages:
            self.apply(message, before_s)
        self.reach(positions)
        return messages

    def reach(self, positions: Positions) -> None:
        """The fold stands here: whatever came before was applied, or was no record."""
        self.positions = dict(positions)
        self.statuses.follow(self.positions)

    def drop_held(self) -> None:
        """Reading is interrupted and will begin at ``positions`` again."""
        self._held.clear()
        self._held_messages = 0

    def apply(self, message: Message, now_s: float = 0.0) -> None:
        """Folds one committed record. ``now_s``: when, for what must be completed by a later one."""
        self.records += 1
        try:
            body = message.body
            if message.topic is RISK_LEDGER:
                self.chain.apply_message(message)
        except ValueError as error:
            self.unreadable.add(
                f"{message.topic.name} {message.partition}/{message.offset}: {str(error).splitlines()[0]}"
            )
            self._note_unreadable(message)
            return
        if isinstance(body, LedgerEntry):
            self._take_entry(message, body, now_s)
        elif isinstance(body, OrderEvent):
            self.orders.places[body.order_id] = Place(message.partition, message.offset)
            self.orders.histories.take(message, body)
            self.orders.apply(body)
            self.changed_orders.add(body.order_id)
        elif isinstance(body, ExecutionReport):
            self._take_report(message, body, now_s)
        elif message.topic is RISK_BREAKS:
            self.matched.refusal(body)
            if isinstance(body, ExecutionBreak) and not body.parked:
                self.executions.refuse(_place_of(body.break_id), body.report)
        else:
            self._answer(message, body)

    def _take_entry(self, message: Message, entry: LedgerEntry, now_s: float) -> None:
        self.accounts.apply(entry)
        self.accounts.places[entry.account_id] = Place(message.partition, message.offset, entry.chain_seq or 0)
        self.entries.take(entry.account_id, message, entry.chain_seq or 0)
        self.matched.posting(entry, now_s, (message.partition, message.offset))
        self.proofs.entry(message, entry)
        self.changed_accounts.add(entry.account_id)

    def _note_unreadable(self, message: Message) -> None:
        if message.topic is RISK_LEDGER:
            self.proofs.unreadable(message.partition)
        elif message.topic is ORDERS_EXECUTIONS:
            self._reads_every_trade = False

    def prove(self, before_s: float) -> list[Proof]:
        """Proofs that the ledger is broken. ``before_s``: every trade that was committed then has been folded."""
        found = self.matched.take_contradictions()
        if self._reads_every_trade:
            found += self.matched.unsaid(before_s)
        for partition, offset, text in found:
            self.proofs.add(Proof(partition, offset, text))
        return list(self.proofs.found.values())

    def _take_report(self, message: Message, report: ExecutionReport, now_s: float) -> None:
        is_new = self.executions.add(report, Place(message.partition, message.offset), _has_nul(message))
        self.matched.trade((message.partition, message.offset), report, is_new, now_s)

    def _answer(self, message: Message, body: Any) -> None:
        """The gate answers a partition's requests in their order, each once."""
        sums = self.decisions if isinstance(body, Decision) else self.results
        if not _has_nul(message):
            sums.take(block_of(message.partition, message.offset), message)
        if isinstance(body, CommandResult):
            self.statuses.apply(message.partition, message.offset, body)
        if isinstance(body, Decision):
            kind, partition, offset = "intent", body.intent_partition, body.intent_offset
        else:
            assert isinstance(body, CommandResult)
            kind, partition, offset = "command", body.command_partition, body.command_offset
        if offset <= self._answered.get((kind, partition), -1):
            self.repeated.add(f"{body.account_id}: {kind} {partition}/{offset} is answered again")
        self._answered[kind, partition] = offset

    # --- what it says ----------------------------------------------------------------------------------------------

    @property
    def sequence_errors(self) -> int:
        """Entries that do not follow their account's last, and requests answered again."""
        return self.accounts.gaps.count + self.repeated.count

    def faults(self) -> list[str]:
        """Faults of the log itself, in words."""
        folds = (self.accounts.gaps, self.accounts.unbalanced, self.accounts.overdrawn, self.repeated, self.unreadable)
        found = [text for findings in folds for text in findings.examples]
        found += [f"{asset}: all postings sum to {total}" for asset, total in self.accounts.total.items() if total]
        return [*found, *(str(finding) for finding in self.chain.faults())]


def _place_of(break_id: str) -> Place:
    """A break is named after the place of the report that was refused."""
    partition, _, offset = break_id.partition("-")
    return Place(int(partition), int(offset))


def _has_nul(message: Message) -> bool:
    """PostgreSQL has no place for NUL in a text: the projection leaves such a record out."""
    return b"\\u0000" in (message.value or b"")
