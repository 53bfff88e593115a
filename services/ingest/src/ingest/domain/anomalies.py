"""What a feed got wrong: counted for ever, and the first cases of each kind kept with their place."""

from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final


class AnomalyKind(StrEnum):
    """Closed list. Every message of a feed becomes a tick or one of these; nothing vanishes."""

    UNKNOWN_TYPE = "unknown_type"  # skipped by its length
    BAD_LENGTH = "bad_length"  # a known type with another length than the specification's; skipped by its length
    UNKNOWN_LOCATE = "unknown_locate"  # no directory message (R) named the instrument
    BAD_TIMESTAMP = "bad_timestamp"  # 24 hours or more after midnight: it would end every window there is
    STAMP_AHEAD = "stamp_ahead"  # far ahead of its neighbours: the message counts, its stamp does not
    BAD_SYMBOL = "bad_symbol"  # a directory message whose symbol is not one
    END_MARKER = "end_marker"  # a length of zero under length framing (BinaryFILE: end of session)
    SKIPPED_BYTES = "skipped_bytes"  # damage that no length leads over, up to the next whole messages; counted in bytes
    TRUNCATED = "truncated"  # the input ends inside a message
    BROKEN_ARCHIVE = "broken_archive"  # the compressed stream ends early, or is damaged
    NO_DIRECTORY = "no_directory"  # the session names no instrument at all
    UNFINISHED_DAY = "unfinished_day"  # the input ends before the day's end of messages (S, event code C)
    SEQUENCE_GAP = "sequence_gap"  # messages that the line never delivered
    DUPLICATE = "duplicate"  # messages that arrived again
    STRAY_PACKET = "stray_packet"  # of another session, or further ahead than a gap; counted in packets
    MALFORMED_PACKET = "malformed_packet"
    BAD_RECORD = "bad_record"  # a record of a feed's source that cannot be read
    BAD_CHECKSUM = "bad_checksum"  # the book differs from the exchange's own checksum
    OFF_SCALE = "off_scale"  # a price or quantity finer than its instrument's scale, or beyond 63 bits
    UNKNOWN_INSTRUMENT = "unknown_instrument"  # a record of an instrument that the source never named
    DISCONNECT = "disconnect"  # a live source was away


LOSSES: Final = frozenset(AnomalyKind) - {
    AnomalyKind.END_MARKER,
    AnomalyKind.DUPLICATE,
    AnomalyKind.STRAY_PACKET,
    AnomalyKind.STAMP_AHEAD,
}
"""Kinds that mean: something of the feed is missing in what came out. The other kinds are oddities without a loss."""


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One case. ``offset``: bytes from the start of the feed, -1 on a packet line; ``sequence``: 0 if it has none."""

    kind: AnomalyKind
    offset: int
    sequence: int = 0
    detail: str = ""

    def __str__(self) -> str:
        where = f"byte {self.offset}" if self.offset >= 0 else "packet line"
        message = f", message {self.sequence}" if self.sequence else ""
        return f"{self.kind.value} at {where}{message}{': ' if self.detail else ''}{self.detail}"


@dataclass(slots=True)
class Report:
    """Counts of everything, and the first ``examples_max`` cases of each kind."""

    examples_max: int = 20
    counts: Counter[AnomalyKind] = field(default_factory=Counter)
    examples: list[Anomaly] = field(default_factory=list)
    messages: int = 0
    ticks: int = 0
    bytes_read: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """Records that say nothing a tick could carry, by the reason that their source's rules give. No anomaly."""
    source: str = ""
    """Which of several files is being read; stands before the details of its anomalies."""

    def losses(self) -> dict[AnomalyKind, int]:
        """How often something of the feed was lost, by kind; empty where it is whole."""
        return {kind: count for kind, count in self.counts.items() if count and kind in LOSSES}

    def add(self, anomaly: Anomaly, count: int = 1) -> None:
        """Counts ``count`` cases; the case is kept while there are few of its kind."""
        if self.counts[anomaly.kind] < self.examples_max:
            where = f"{self.source}: " if self.source else ""
            self.examples.append(replace(anomaly, detail=f"{where}{anomaly.detail}"))
        self.counts[anomaly.kind] += count
