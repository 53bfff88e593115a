"""Records that ingest writes: announcements of instruments, then frames of ticks, one partition after the other."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from common.contracts.reference import Instrument
from common.contracts.ticks import Ticks, encode_frame
from common.contracts.topics import MD_TICKS, REF_INSTRUMENTS
from streams.model.message import Output


@dataclass(frozen=True, slots=True)
class FrameWriter:
    """Cuts ticks into records of ``md.ticks``. ``session_ns``: the exchange's midnight."""

    feed: str
    session_ns: int
    frame_ticks_max: int

    def frames(self, parts: Sequence[Ticks], beat: Ticks | None, ingest_ns: int) -> list[Output]:
        """Frames of every partition that has something to say; with a heartbeat that is all of them, at their ends.

        ``parts``: the ticks of each partition, or nothing.
        """
        if beat is not None:
            parts = [np.concatenate((part, beat)) for part in parts] or [beat] * MD_TICKS.partitions
        return [
            self._frame(partition, part[at : at + self.frame_ticks_max], ingest_ns)
            for partition, part in enumerate(parts)
            for at in range(0, len(part), self.frame_ticks_max)
        ]

    def _frame(self, partition: int, ticks: Ticks, ingest_ns: int) -> Output:
        body = encode_frame(ticks, feed=self.feed, ingest_ns=ingest_ns, session_ns=self.session_ns)
        return Output(MD_TICKS, b"%d" % partition, body, partition)


def announcements(instruments: Iterable[Instrument]) -> list[Output]:
    """Records of ``ref.instruments``. They stand before the first tick of their instrument, in the same transaction."""
    return [Output(REF_INSTRUMENTS, instrument.symbol.encode(), instrument) for instrument in instruments]
