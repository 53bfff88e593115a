"""Damage on request: packets that are lost, come twice or overtake each other, and stamps that no day has.

What was done is the truth that a reader's counts are held to. No I/O here; the same seed does the same damage.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import Any, Final

import numpy as np

from ingest.domain.capture_writer import mold_packet

_BAD_STAMP: Final = (1 << 48) - 1
_HOLD_NS: Final = 10_000_000
"""A packet overtakes the next one only within so much time: a receiver waits twice as long."""
_APART_NS: Final = 50_000_000
"""A receiver that waits for a lost packet gives up everything missing at once: what is overtaken then would be lost."""
_DIRECTORY: Final = ord("R")
Packet = tuple[int, int, list[bytes]]
"""(time, sequence of the first message, messages)."""


@dataclass(frozen=True, slots=True)
class Damage:
    """How many of a thousand packets are lost, come twice, are overtaken by the next, or hold an impossible stamp."""

    gaps: int = 0
    duplicates: int = 0
    reorders: int = 0
    bad_stamps: int = 0
    seed: int = 1


@dataclass(slots=True)
class Truth:
    """The packets and messages as written. ``lost``: (first message, count)."""

    packets: int = 0
    messages: int = 0
    lost: list[tuple[int, int]] = field(default_factory=list)
    duplicate_messages: int = 0
    reordered_packets: int = 0
    bad_stamps: list[int] = field(default_factory=list)

    def said(self) -> dict[str, Any]:
        """For a file beside the capture, with the sums that a reader must count."""
        lost = sum(count for _, count in self.lost)
        expected = {
            "sequence_gap": lost,
            "duplicate": self.duplicate_messages,
            "bad_timestamp": len(self.bad_stamps),
        }
        return {
            **asdict(self),
            "expected_anomalies": {kind: count for kind, count in expected.items() if count},
            "expected_messages": self.messages - lost,
        }


class _Fate(IntEnum):
    WHOLE = 0
    LOST = 1
    TWICE = 2
    OVERTAKEN = 3


def damaged(packets: Iterable[Packet], damage: Damage, truth: Truth, session: str) -> Iterator[tuple[int, bytes]]:
    """(time, datagram) as a receiver gets them. Packets that name instruments, the first and the last stay whole."""
    random = np.random.default_rng(damage.seed)
    late: bytes | None = None
    lost_ns = 0
    for number, (packet, following) in enumerate(_with_next(packets)):
        time_ns, sequence, messages = packet
        names = any(message[0] == _DIRECTORY for message in messages)
        is_safe = number == 0 or following is None or late is not None or names
        fate = _Fate.WHOLE if is_safe else _fate(random, damage)
        truth.packets += 1
        truth.messages += len(messages)
        if fate is _Fate.LOST:
            truth.lost.append((sequence, len(messages)))
            lost_ns = time_ns
            continue
        if not is_safe and random.integers(1_000) < damage.bad_stamps:
            messages = [_bad_stamp(messages[0]), *messages[1:]]
            truth.bad_stamps.append(sequence)
        datagram = mold_packet(session, sequence, messages)
        is_apart = time_ns - lost_ns > _APART_NS
        if fate is _Fate.OVERTAKEN and is_apart and following is not None and following[0] - time_ns <= _HOLD_NS:
            truth.reordered_packets += 1
            late = datagram
            continue
        yield time_ns, datagram
        if fate is _Fate.TWICE:
            truth.duplicate_messages += len(messages)
            yield time_ns, datagram
        if late is not None:
            yield time_ns, late
            late = None


def _with_next(packets: Iterable[Packet]) -> Iterator[tuple[Packet, Packet | None]]:
    held: Packet | None = None
    for packet in packets:
        if held is not None:
            yield held, packet
        held = packet
    if held is not None:
        yield held, None


def _fate(random: Any, damage: Damage) -> _Fate:
    drawn = int(random.integers(1_000))
    for fate, share in (
        (_Fate.LOST, damage.gaps),
        (_Fate.TWICE, damage.duplicates),
        (_Fate.OVERTAKEN, damage.reorders),
    ):
        if drawn < share:
            return fate
        drawn -= share
    return _Fate.WHOLE


def _bad_stamp(message: bytes) -> bytes:
    return message[:5] + _BAD_STAMP.to_bytes(6, "big") + message[11:]
