"""Proofs that the ledger itself is broken, entry by entry. Pure.

A store that lags, a connection that is lost, a service that is away prove nothing: only what stands committed in the
log does, and only what no sound gate can have written there.

- An entry that does not continue its partition's hash chain: it was forged, altered, moved or doubled, or entries
  before it are gone.
- A chained entry out of its account's sequence, one whose postings do not sum to zero, an account on two partitions, a
  request or a trade that was booked twice.
- A posting that differs from its trade, or whose trade no venue has said (``FillMatch`` says which).

Whoever broke the chain has not written what the gate writes next. So the entries of the gate are told from others by
the chain, and a stranger's entry changes nothing that later ones are held to: each fault is found once, where it is.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from common.contracts.events import EntryKind, LedgerEntry
from common.contracts.fences import PLACES_MAX
from common.ledger.chain import Link, chained, genesis, link_of_message
from streams.model.message import Message

CAUSES_MAX: Final = 50_000
"""Requests and trades remembered that were booked, the newest."""
TWICE_WITHIN_NS: Final = 3_600_000_000_000
"""The gate remembers ids for a day at least; what is booked again under an id after that may be another request."""
DOUBTS_MAX: Final = 8
"""Entries of a partition that the next one may continue, though they themselves continue nothing."""


class Proof(NamedTuple):
    """Something at one place of the ledger that no sound gate has written."""

    partition: int
    offset: int
    text: str
    is_whole: bool = False
    """It cannot be told which partition is wrong."""

    @property
    def place(self) -> str:
        return f"{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class _Head:
    """An entry that the next one may follow. ``account_id`` and ``seq`` are of one that is in doubt."""

    chain_seq: int
    chain: str
    account_id: str = ""
    seq: int = 0
    is_behind_gap: bool = False


@dataclass(slots=True)
class _Partition:
    """``is_blind``: an entry could not be read, so what follows it may continue it."""

    sound: _Head
    doubts: list[_Head] = field(default_factory=list)
    accounts: dict[str, int] = field(default_factory=dict)
    """Account → its last sequence."""
    is_partial: bool = False
    """Entries are gone, so an account may begin anywhere."""
    is_blind: bool = False

    def follow(self, link: Link) -> bool:
        """Whether the link continues the chain; in doubt what it continues was the gate's own, altered or moved."""
        for head in (self.sound, *self.doubts):
            if link.chain_seq == head.chain_seq + 1 and link.chain == chained(head.chain, link.hashed):
                if head.account_id:
                    self._believe(head)
                self.sound, self.doubts = _Head(link.chain_seq, link.chain), []
                return True
        is_behind_gap = link.chain_seq > self.sound.chain_seq + 1
        doubt = _Head(link.chain_seq, link.chain, link.account_id, link.seq, is_behind_gap)
        self.doubts = [*self.doubts, doubt][-DOUBTS_MAX:]
        return False

    def _believe(self, head: _Head) -> None:
        if head.is_behind_gap:
            self.accounts.clear()
            self.is_partial = True
        self.accounts[head.account_id] = head.seq


class LedgerProofs:
    """Takes the ledger's records, each partition's in order. ``found`` has the newest proofs, by place."""

    def __init__(self) -> None:
        self.found: OrderedDict[str, Proof] = OrderedDict()
        self._partitions: dict[int, _Partition] = {}
        self._homes: dict[str, int] = {}
        self._booked: OrderedDict[tuple[str, ...], int] = OrderedDict()

    def unreadable(self, partition: int) -> None:
        """A record of the partition could not be read; a newer release may have written it. Nothing is proven now."""
        self._of(partition).is_blind = True

    def add(self, proof: Proof) -> None:
        """Something was found; where the place has a proof already, that one stays."""
        if self._of(proof.partition).is_blind or proof.place in self.found:
            return
        self.found[proof.place] = proof
        if len(self.found) > PLACES_MAX:
            self.found.popitem(last=False)

    def entry(self, message: Message, entry: LedgerEntry) -> None:
        """The partition's next entry."""
        where, partition = self._of(message.partition), message.partition
        link = link_of_message(message)
        if link is None:
            if where.sound.chain_seq:  # a ledger may begin with entries of the release that had no chain
                self._find(message, entry, "it is no link of the partition's hash chain, and others before it are")
                return
        elif not where.follow(link):
            last = where.sound.chain_seq
            self._find(
                message, entry, f"as number {link.chain_seq} of the hash chain it does not continue number {last}"
            )
            return
        home = self._homes.setdefault(entry.account_id, partition)
        if home != partition:
            text = f"its account has entries on partition {home}"
            self.add(Proof(partition, message.offset, self._text(message, entry, text), is_whole=True))
        self._check(where, message, entry)
        where.accounts[entry.account_id] = entry.seq

    def _check(self, where: _Partition, message: Message, entry: LedgerEntry) -> None:
        before = where.accounts.get(entry.account_id)
        if before is None and not where.is_partial:
            before = 0
        if before is not None and entry.seq != before + 1:
            self._find(message, entry, f"it follows entry {before} of its account")
        sums: dict[str, int] = {}
        for posting in entry.postings:
            sums[posting.asset] = sums.get(posting.asset, 0) + posting.amount
        if wrong := {asset: total for asset, total in sums.items() if total}:
            self._find(message, entry, f"its postings sum to {wrong}")
        cause = _cause(entry)
        if cause:
            first_ns = self._booked.get(cause)
            if first_ns is not None and entry.booked_ns - first_ns < TWICE_WITHIN_NS:
                self._find(message, entry, f"{' '.join(cause)} was booked before")
            self._booked[cause] = entry.booked_ns
            if len(self._booked) > CAUSES_MAX:
                self._booked.popitem(last=False)

    def _find(self, message: Message, entry: LedgerEntry, text: str) -> None:
        self.add(Proof(message.partition, message.offset, self._text(message, entry, text)))

    @staticmethod
    def _text(message: Message, entry: LedgerEntry, text: str) -> str:
        where = f"{message.topic.name}/{message.partition} at {message.offset}"
        return f"{where}, {entry.account_id} entry {entry.seq}: {text}"

    def _of(self, partition: int) -> _Partition:
        if partition not in self._partitions:
            self._partitions[partition] = _Partition(_Head(*genesis(partition)))
        return self._partitions[partition]


def _cause(entry: LedgerEntry) -> tuple[str, ...]:
    """The cause, which may be booked once only; empty where ids alone do not tell that."""
    match entry.kind:
        case EntryKind.FUND | EntryKind.WITHDRAW if entry.command_id:
            return ("command", entry.account_id, entry.command_id)
        case EntryKind.RESERVE if entry.order_id:
            return ("order", entry.order_id)
        case EntryKind.POST if entry.order_id and entry.execution_id:
            return ("execution", entry.execution_id, "of", entry.order_id, entry.command_id or "")
    return ()
