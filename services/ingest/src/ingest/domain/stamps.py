"""Time of a message: its stamp, if those around it bear it out."""

from typing import Any, Final

import numpy as np
from common.contracts.ticks import TickKind

from ingest.domain.framing import Block
from ingest.domain.itch_spec import HEADER_LENGTH
from ingest.domain.words import load64
from ingest.kernels import inlined, kernel

SYSTEM_EVENT: Final = int(TickKind.SYSTEM_EVENT)
MESSAGES_BEGIN: Final = ord("O")
NOT_BELIEVED: Final = -2
"""The time of a message of which only the stamp is not believed."""
DAY_NS: Final = 86_400_000_000_000
AHEAD_MAX_NS: Final = 3_600_000_000_000
"""A stamp that is further ahead of the one before is believed only if the messages that follow agree with it."""
_FOLLOWERS: Final = 15
"""Messages that are asked whether they agree: half as many wrong ones in a row are not believed."""
_LINE_AGREEING: Final = 3
"""Messages in a row of a packet line, where what follows cannot be asked, that it takes to believe such a stamp."""
_STAMP_MASK: Final = np.uint64((1 << 48) - 1)

# Places of ``DecoderState.time``.
CLOCK, TURN, SUSPECT, ENDED, IS_LINE, SUSPECT_NUMBER, SUSPECTS = range(7)
UNSET: Final = -1


@inlined
def stamp_of(data: Any, start: Any) -> Any:
    return np.int64(load64(data, start + np.uint64(3)) & _STAMP_MASK)


@kernel
def _is_contradicted(data: Any, starts: Any, lengths: Any, index: int, latest: int) -> Any:
    """Whether most of the messages that follow ``index`` are stamped ``latest`` or before: 1 yes, 0 no, -1 none do.

    Messages of a day that begins after it are not asked. Stamps that begin anew at midnight are no contradiction where
    midnight is near.
    """
    asked, against = 0, 0
    soon = stamp_of(data, np.uint64(starts[index])) + AHEAD_MAX_NS - DAY_NS
    place = index + 1
    while place < len(starts) and asked < _FOLLOWERS:
        if lengths[place] > HEADER_LENGTH:
            start = np.uint64(starts[place])
            if data[start] == SYSTEM_EVENT and data[start + np.uint64(HEADER_LENGTH)] == MESSAGES_BEGIN:
                break
            asked += 1
            against += soon < stamp_of(data, start) <= latest
        place += 1
    return -1 if asked == 0 else np.int64(2 * against > asked)


@kernel
def unusual_stamp(data: Any, starts: Any, lengths: Any, index: int, number: int, stamp: int, time: Any) -> Any:
    """The time of a message whose stamp is far from the clock; -1 where it is none, -2 where only the stamp is not
    believed.

    Overnight sessions count on past 24 hours or begin anew at midnight: the day that brings a stamp close to the clock
    is the right one. A stamp that is far behind is late. One that is far ahead may end a quiet time, or be wrong.
    """
    clock = time[CLOCK]
    if clock == UNSET:
        return stamp if stamp < DAY_NS else np.int64(-1)
    now = stamp + time[TURN]
    for turn in (-DAY_NS, DAY_NS):
        if clock - AHEAD_MAX_NS <= now + turn <= clock + AHEAD_MAX_NS and time[TURN] + turn >= 0:
            time[TURN] += turn
            return now + turn
    if now <= clock:
        return now
    if stamp >= DAY_NS:
        return -1
    verdict = _is_contradicted(data, starts, lengths, index, clock + AHEAD_MAX_NS - time[TURN])
    if verdict < 0 and time[IS_LINE]:
        is_next = time[SUSPECT] != UNSET and time[SUSPECT_NUMBER] == number - 1
        agrees = is_next and abs(now - time[SUSPECT]) <= AHEAD_MAX_NS
        time[SUSPECTS] = time[SUSPECTS] + 1 if agrees else 1
        verdict = np.int64(time[SUSPECTS] < _LINE_AGREEING)
    time[SUSPECT] = now if verdict == 1 else UNSET
    time[SUSPECT_NUMBER] = number
    return NOT_BELIEVED if verdict == 1 else now


@kernel
def count_due(data: Any, starts: Any, lengths: Any, index: int, stamp: int) -> int:
    """How many messages from ``index`` on come before the first one stamped later than ``stamp`` (ns since midnight).

    What is too short to have a stamp, or has an impossible one, is due with what stands before it; so is a message that
    those after it contradict.
    """
    count = 0
    while index + count < len(starts):
        start = np.uint64(starts[index + count])
        if lengths[index + count] >= HEADER_LENGTH:
            due = stamp_of(data, start)
            if stamp < due < DAY_NS and _is_contradicted(data, starts, lengths, index + count, stamp) != 1:
                break
        count += 1
    return count


def next_stamp(block: Block, index: int) -> int | None:
    """Nanoseconds since midnight of the first message from ``index`` on that has a possible stamp."""
    for place in range(index, len(block)):
        start, length = int(block.starts[place]), int(block.lengths[place])
        stamp = int.from_bytes(block.data[start + 5 : start + HEADER_LENGTH].tobytes(), "big")
        if length >= HEADER_LENGTH and stamp < DAY_NS:
            return stamp
    return None
