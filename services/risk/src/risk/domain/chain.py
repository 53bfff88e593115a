"""The hash chain of the ledger: each entry of a partition carries the hash of all before it.

``contracts.events.LedgerEntry`` says what is hashed. The bytes that are sent are the bytes that are hashed, so an entry
is encoded once. Whoever verifies has an implementation of his own (``common.ledger.chain``).
"""

from collections.abc import Sequence
from functools import cache
from hashlib import sha256

import msgspec
from common.contracts.topics import RISK_LEDGER


class ChainRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The last link of one partition."""

    seq: int
    """Number of the partition's entries."""
    head: bytes
    """SHA-256, 32 bytes."""


@cache
def genesis(partition: int, topic: str = RISK_LEDGER.name) -> ChainRow:
    """Link that the first entry of a partition is chained to; each has its own, so that none can be exchanged."""
    return ChainRow(0, sha256(f"{topic}/{partition}".encode()).digest())


def link_all(last: ChainRow, entries: memoryview, begins: Sequence[int], ends: Sequence[int]) -> tuple[bytes, ChainRow]:
    """The hashes of entries that have their numbers already, one after the other, and the last link.

    ``entries[begin:end]`` is what of each is hashed.
    """
    head = last.head
    heads = [head := sha256(head + entries[begin:end]).digest() for begin, end in zip(begins, ends, strict=True)]
    return b"".join(heads), ChainRow(last.seq + len(heads), head)


def link(last: ChainRow, entry: bytes) -> tuple[bytes, ChainRow]:
    """The value to send for an encoded entry, its place in the chain included, and the link it makes."""
    seq = last.seq + 1
    numbered = b'%b,"chain_seq":%d' % (entry[:-1], seq)
    head = sha256(b"%b%b}" % (last.head, numbered)).digest()
    return b'%b,"chain":"%b"}' % (numbered, head.hex().encode()), ChainRow(seq, head)
