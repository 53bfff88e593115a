"""Parts of kernels: where windows begin.

Windows of every length are aligned to one anchor, the venue's midnight by the time of day of UTC, so that a window of a
day holds the venue's day, in summer and winter, and longer windows are made of whole shorter ones. It is 0, the epoch,
where no feed has told of a session.
"""

from typing import Any, Final

from common.contracts.windows import NS

from signals.kernels import part

_DAY_NS: Final = 86_400 * NS


@part
def window_start(at_ns: int, length_ns: Any, anchor_ns: int) -> Any:
    """Start of the window of a length, or of each length, that holds the time."""
    return (at_ns - anchor_ns) // length_ns * length_ns + anchor_ns


def anchor_of(midnight_ns: int) -> int:
    """The anchor of windows, by the venue's midnight, ns since the epoch: a whole second, as slices of trades are."""
    return midnight_ns % _DAY_NS // NS * NS
