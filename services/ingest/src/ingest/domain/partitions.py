"""Deals ticks out to the partitions of ``md.ticks``, keeping their order within each."""

from typing import Any, Final

import numpy as np
from common.contracts.ticks import NO_INSTRUMENT, TICK, Ticks, offset_of

from ingest.kernels import kernel

_WORDS: Final = TICK.itemsize // 8
_INSTRUMENT_WORD: Final = offset_of(TICK, "instrument_id") // 8


@kernel
def _deal(rows: Any, partitions: int, out: Any, ends: Any) -> None:
    """Counts, then moves. A row without an instrument goes to every partition."""
    counts = np.zeros(partitions, np.int64)
    for row in range(len(rows)):
        instrument = np.int32(rows[row, _INSTRUMENT_WORD] & 0xFFFFFFFF)
        if instrument == NO_INSTRUMENT:
            counts += 1
        else:
            counts[instrument % partitions] += 1
    position = 0
    at = np.zeros(partitions, np.int64)
    for partition in range(partitions):
        at[partition] = position
        position += counts[partition]
        ends[partition] = position
    for row in range(len(rows)):
        instrument = np.int32(rows[row, _INSTRUMENT_WORD] & 0xFFFFFFFF)
        first, after = (0, partitions) if instrument == NO_INSTRUMENT else (instrument % partitions, 0)
        for partition in range(first, max(after, first + 1)):
            for word in range(_WORDS):
                out[at[partition], word] = rows[row, word]
            at[partition] += 1


def deal(ticks: Ticks, partitions: int) -> list[Ticks]:
    """One array per partition, by ``market_partition``."""
    everywhere = int(np.count_nonzero(ticks["instrument_id"] == NO_INSTRUMENT))
    out = np.empty(len(ticks) + everywhere * (partitions - 1), TICK)
    ends = np.empty(partitions, np.int64)
    _deal(ticks.view(np.int64).reshape(-1, _WORDS), partitions, out.view(np.int64).reshape(-1, _WORDS), ends)
    return np.split(out, ends[:-1])
