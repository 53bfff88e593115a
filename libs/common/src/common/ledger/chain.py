"""The hash chain of the ledger, verified: which entry was altered, dropped or moved, and from which one on.

``contracts.events.LedgerEntry`` defines the chain. This is the reader's own implementation; it shares none with the
gate. A chain proves what stands before its head: against somebody who rewrites the log to its end and chains it anew,
or cuts that end off, only a head that was kept elsewhere helps (``ChainVerifier.expect``).
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import chain as concatenated
from typing import Any, Final, NamedTuple, Protocol

from common.contracts.topics import RISK_LEDGER

_RECORD: Final = re.compile(rb'(\{.*,"chain_seq":([0-9]+)),"chain":"([0-9a-f]{64})"\}', re.DOTALL)
_NUMBER: Final = re.compile(rb',"chain_seq":[0-9]+\}$')


class Fault(StrEnum):
    """Kind of damage to an entry, as far as the chain tells."""

    ALTERED = "altered"
    DROPPED = "dropped"
    REORDERED = "reordered"
    REPEATED = "repeated"
    UNCHAINED = "unchained"
    CUT_OFF = "cut off"
    REWRITTEN = "rewritten"
    ADDED = "added"


class LedgerRecord(Protocol):
    """A record of ``risk.ledger`` as it was read."""

    @property
    def partition(self) -> int: ...

    @property
    def offset(self) -> int: ...

    @property
    def value(self) -> bytes | None: ...

    @property
    def body(self) -> Any:
        """The ``LedgerEntry``. Raises ValueError where the value is none."""
        ...


class Head(NamedTuple):
    """A place in a partition's chain: the number of an entry and its hash in hexadecimal."""

    seq: int
    chain: str


@dataclass(frozen=True, slots=True)
class Link:
    """One entry as it was read. ``hashed`` is what the chain hashes of it: its JSON without ``chain``."""

    partition: int
    offset: int
    account_id: str
    seq: int
    chain_seq: int
    hashed: bytes
    chain: str


@dataclass(frozen=True, slots=True)
class ChainFinding:
    """The first place where a fault shows; ``account_id`` and ``seq`` are the entry's that stands there."""

    fault: Fault
    partition: int
    offset: int
    account_id: str
    seq: int
    text: str
    topic: str = RISK_LEDGER.name

    def __str__(self) -> str:
        entry = f" {self.account_id} entry {self.seq}" if self.account_id else ""
        return f"{self.topic} {self.partition}/{self.offset}{entry}: {self.fault}: {self.text}"


def genesis(partition: int, topic: str = RISK_LEDGER.name) -> Head:
    """Head that the first entry of a partition is chained to."""
    return Head(0, hashlib.sha256(f"{topic}/{partition}".encode()).hexdigest())


def chained(before: str, hashed: bytes) -> str:
    """The chain of the entry that follows ``before``."""
    return hashlib.sha256(bytes.fromhex(before) + hashed).hexdigest()


def link_of_message(record: LedgerRecord) -> Link | None:
    """The link that a record is, from its very bytes; None where it is none. Raises ValueError where it is no entry."""
    entry = record.body
    found = _RECORD.fullmatch(record.value or b"")
    if found is None:
        return None
    return Link(
        record.partition,
        record.offset,
        entry.account_id,
        entry.seq,
        int(found[2]),
        found[1] + b"}",
        found[3].decode(),
    )


@dataclass(slots=True)
class _Gap:
    """Numbers ``first`` to ``last`` are missing before the link that was read at ``found``."""

    first: int
    last: int
    found: Link
    account_before: int
    """The last sequence of that link's account before it."""


@dataclass(slots=True)
class _PartitionChain:
    """One partition, link by link as they are read."""

    partition: int
    head: Head
    computed: str
    """Hash of the last entry as it stands; the head's own where the entry is sound."""
    entries: int = 0
    last_offset: int = -1
    gaps: list[_Gap] = field(default_factory=list)
    accounts: dict[str, int] = field(default_factory=dict)
    expected: dict[int, str] = field(default_factory=dict)
    findings: list[ChainFinding] = field(default_factory=list)

    def find(self, fault: Fault, link: Link, text: str) -> None:
        self.findings.append(ChainFinding(fault, self.partition, link.offset, link.account_id, link.seq, text))

    def apply(self, link: Link) -> None:
        """Takes the next link. After a fault the chain is followed from what the entry says of itself."""
        self.entries += 1
        if link.offset <= self.last_offset:
            self.find(Fault.REORDERED, link, f"stands behind offset {self.last_offset}")
        self.last_offset = max(link.offset, self.last_offset)
        if link.chain_seq == self.head.seq + 1:
            self._follow(link)
        elif self._is_renumbered(link):
            self.find(Fault.ALTERED, link, f"says it is number {link.chain_seq} of the chain")
            self._advance(Head(self.head.seq + 1, link.chain), link.chain)
        elif link.chain_seq > self.head.seq:
            before = self.accounts.get(link.account_id, 0)
            self.gaps.append(_Gap(self.head.seq + 1, link.chain_seq - 1, link, before))
            self._advance(Head(link.chain_seq, link.chain), link.chain)
        else:
            self._come_late(link)
        self.accounts[link.account_id] = max(link.seq, self.accounts.get(link.account_id, 0))

    def _follow(self, link: Link) -> None:
        own = chained(self.head.chain, link.hashed)
        if link.chain != own and link.chain != chained(self.computed, link.hashed):
            self.find(Fault.ALTERED, link, f"number {link.chain_seq} of the chain does not have the hash it carries")
        self._advance(Head(link.chain_seq, link.chain), own)

    def _is_renumbered(self, link: Link) -> bool:
        """Whether it is the next link but for the number it gives itself."""
        hashed = _NUMBER.sub(b',"chain_seq":%d}' % (self.head.seq + 1), link.hashed)
        return chained(self.head.chain, hashed) == link.chain

    def _advance(self, head: Head, computed: str) -> None:
        self.head, self.computed = head, computed
        expected = self.expected.pop(head.seq, head.chain)
        if expected != head.chain:
            self.findings.append(
                ChainFinding(
                    Fault.REWRITTEN,
                    self.partition,
                    self.last_offset,
                    "",
                    0,
                    f"number {head.seq} is {head.chain}, the head that was kept says {expected}",
                )
            )

    def _come_late(self, link: Link) -> None:
        number = link.chain_seq
        for gap in self.gaps:
            if gap.first <= number <= gap.last:
                self.gaps.remove(gap)
                parts = ((gap.first, number - 1), (number + 1, gap.last))
                self.gaps += [_Gap(a, b, gap.found, gap.account_before) for a, b in parts if a <= b]
                self.find(Fault.REORDERED, link, f"number {number} belongs before offset {gap.found.offset}")
                return
        self.find(Fault.REPEATED, link, f"number {number} comes after number {self.head.seq}")

    def faults(self) -> list[ChainFinding]:
        """Findings so far, in the order of the log."""
        found = list(self.findings)
        for gap in self.gaps:
            link, numbers = gap.found, _numbers(gap.first, gap.last)
            whose = ""
            if link.seq > gap.account_before + 1:
                whose = f", {link.account_id} entry {_numbers(gap.account_before + 1, link.seq - 1)} among them"
            text = f"number {numbers} of the chain is missing before it{whose}"
            found.append(
                ChainFinding(Fault.DROPPED, self.partition, link.offset, link.account_id, link.seq, text),
            )
        return sorted(found, key=lambda finding: finding.offset)

    def conclude(self) -> list[ChainFinding]:
        """The same, now that nothing follows."""
        found = self.faults()
        end = max(self.expected, default=0)
        if end > self.head.seq:
            text = f"the log ends with number {self.head.seq}, the head that was kept is number {end}"
            found.append(ChainFinding(Fault.CUT_OFF, self.partition, self.last_offset, "", 0, text))
        return found


def _numbers(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"


class ChainVerifier:
    """All partitions; links of one partition come in the order in which they are claimed to stand.

    ``topic``: the ledger, or another one whose records are chained alike.
    """

    def __init__(self, topic: str = RISK_LEDGER.name) -> None:
        self._topic = topic
        self._partitions: dict[int, _PartitionChain] = {}
        self._unreadable: list[ChainFinding] = []

    def _partition(self, number: int) -> _PartitionChain:
        if number not in self._partitions:
            start = genesis(number, self._topic)
            self._partitions[number] = _PartitionChain(number, start, start.chain)
        return self._partitions[number]

    def expect(self, partition: int, head: Head) -> None:
        """The chain must come to this link, or end in it now; what lies behind is not looked at.

        Raises ValueError where something else is known of that link.
        """
        chain = self._partition(partition)
        if head.seq < chain.head.seq:
            return
        known = chain.head.chain if head.seq == chain.head.seq else chain.expected.setdefault(head.seq, head.chain)
        if known != head.chain:
            raise ValueError(f"partition {partition} number {head.seq} is {known} and {head.chain}")

    def apply(self, link: Link) -> None:
        """Takes the next link of its partition."""
        self._partition(link.partition).apply(link)

    def apply_message(self, record: LedgerRecord) -> None:
        """Takes the next record of its partition. Raises ValueError where it is no ledger entry."""
        link = link_of_message(record)
        if link is not None:
            self.apply(link)
        else:
            entry = record.body
            self.refuse(
                Fault.UNCHAINED, record.partition, record.offset, entry.account_id, entry.seq, "it has no chain"
            )

    def refuse(self, fault: Fault, partition: int, offset: int, account_id: str, seq: int, text: str) -> None:
        """Notes an entry that cannot be a link."""
        self._unreadable.append(ChainFinding(fault, partition, offset, account_id, seq, text))

    def check_end(self, heads: Iterable[tuple[int, Head]]) -> None:
        """Nothing may stand in the log beyond these heads, read after it."""
        for partition, head in heads:
            chain = self._partition(partition)
            if chain.head.seq > head.seq:
                text = f"the log goes on to number {chain.head.seq}, the gate wrote {head.seq}"
                self.refuse(Fault.ADDED, partition, chain.last_offset, "", 0, text)

    def heads(self) -> dict[int, Head]:
        """Partition → its last link, as it stands; of one without entries, from where its chain will begin."""
        numbers = {*range(RISK_LEDGER.partitions), *self._partitions}
        return {number: self._partition(number).head for number in sorted(numbers)}

    @property
    def entries(self) -> int:
        return sum(chain.entries for chain in self._partitions.values())

    def faults(self) -> list[ChainFinding]:
        """Findings so far, by partition and offset."""
        return self._sorted(chain.faults() for chain in self._partitions.values())

    def conclude(self) -> list[ChainFinding]:
        """The same, now that nothing follows."""
        return self._sorted(chain.conclude() for chain in self._partitions.values())

    def _sorted(self, found: Iterable[list[ChainFinding]]) -> list[ChainFinding]:
        every = (replace(finding, topic=self._topic) for finding in (*self._unreadable, *concatenated(*found)))
        return sorted(every, key=lambda finding: (finding.partition, finding.offset))


def parse_head(text: str) -> tuple[int, Head]:
    """``PARTITION=NUMBER:HASH``, as heads are printed. Raises ValueError for anything else."""
    found = re.fullmatch(r"([0-9]+)=([0-9]+):([0-9a-f]{64})", text.strip())
    if found is None:
        raise ValueError(f"{text.strip()!r} is not PARTITION=NUMBER:HASH")
    return int(found[1]), Head(int(found[2]), found[3])


def head_text(partition: int, head: Head) -> str:
    """As ``parse_head`` reads it."""
    return f"{partition}={head.seq}:{head.chain}"


def as_dict(finding: ChainFinding) -> dict[str, Any]:
    """For ``--json``."""
    return {
        "fault": finding.fault.value,
        "partition": finding.partition,
        "offset": finding.offset,
        "account_id": finding.account_id,
        "seq": finding.seq,
        "text": finding.text,
    }
