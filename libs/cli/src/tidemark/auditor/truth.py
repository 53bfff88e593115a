"""What the committed log says, folded some time behind its end.

A store is read, and says at which version of each row it stands. Because the fold is held back, it has usually not come
to that version yet: it is told to remember the row when it does, and the two are compared at that very version, however
busy the account is.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from common.contracts.events import CommandResult, Decision, LedgerEntry, OrderEvent
from common.contracts.topics import ORDERS_EVENTS, RISK_DECISIONS, RISK_LEDGER, Topic
from common.runtime.message import Message

from tidemark.audit.chain import ChainVerifier
from tidemark.audit.fold import Findings, LedgerFold
from tidemark.audit.rows import OrderFold

TOPICS: Final[tuple[Topic, ...]] = (RISK_LEDGER, RISK_DECISIONS, ORDERS_EVENTS)
HELD_MESSAGES_MAX: Final = 100_000
Positions = Mapping[tuple[str, int], int]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the newest record of a key stands; ``chain_seq`` is its number in the ledger's chain, 0 elsewhere."""

    partition: int
    offset: int
    chain_seq: int = 0


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


class OrderTruth(OrderFold):
    """Orders by id: all that are open, and the newest that ended."""

    def __init__(self, ended_max: int) -> None:
        super().__init__()
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


class LogTruth:
    """All folds, the records that wait to be folded, and the keys that changed since somebody asked."""

    def __init__(self, orders_max: int) -> None:
        self.accounts = AccountTruth()
        self.orders = OrderTruth(orders_max)
        self.chain = ChainVerifier()
        self.repeated = Findings()
        self.unreadable = Findings()
        self.changed_accounts: set[str] = set()
        self.changed_orders: set[str] = set()
        self.records = 0
        self.positions: dict[tuple[str, int], int] = {}
        """Where the fold stands: the next offset per (topic, partition), markers included."""
        self._held: deque[tuple[float, Sequence[Message], Positions]] = deque()
        self._held_messages = 0
        self._answered: dict[tuple[str, int], int] = {}

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
            self.apply(message)
        self.positions = dict(positions)
        return messages

    def drop_held(self) -> None:
        """Reading is interrupted and will begin at ``positions`` again."""
        self._held.clear()
        self._held_messages = 0

    def apply(self, message: Message) -> None:
        """Folds one committed record."""
        self.records += 1
        try:
            body = message.body
            if message.topic is RISK_LEDGER:
                self.chain.apply_message(message)
        except ValueError as error:
            self.unreadable.add(
                f"{message.topic.name} {message.partition}/{message.offset}: {str(error).splitlines()[0]}"
            )
            return
        if isinstance(body, LedgerEntry):
            self.accounts.apply(body)
            self.accounts.places[body.account_id] = Place(message.partition, message.offset, body.chain_seq or 0)
            self.changed_accounts.add(body.account_id)
        elif isinstance(body, OrderEvent):
            self.orders.places[body.order_id] = Place(message.partition, message.offset)
            self.orders.apply(body)
            self.changed_orders.add(body.order_id)
        else:
            self._answer(body)

    def _answer(self, body: Any) -> None:
        """The gate answers a partition's requests in their order, each once."""
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
        """What is wrong with the log itself, in words."""
        folds = (self.accounts.gaps, self.accounts.unbalanced, self.accounts.overdrawn, self.repeated, self.unreadable)
        found = [text for findings in folds for text in findings.examples]
        found += [f"{asset}: all postings sum to {total}" for asset, total in self.accounts.total.items() if total]
        return [*found, *(str(finding) for finding in self.chain.faults())]
