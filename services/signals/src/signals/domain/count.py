"""Places in the ``counters`` of a partition's bars, and which of them tell of damage in the input."""

from typing import Final

TRADES_FIRST: Final = 0
"""Number of the oldest trade in the log."""
TRADES_NEXT: Final = 1
ISSUED: Final = 2  # rows of the buffer in use
DUE_NS: Final = 3  # when the next open window ends
LATE_TRADE: Final = 4
UNKNOWN_BREAK: Final = 5
DUPLICATE_MATCH: Final = 6
LOST_RESTATEMENT: Final = 7
BARS: Final = 8  # issued so far, every revision counts
WINDOWED: Final = 9  # trades that a window holds
TOO_LATE: Final = 10  # trades that no window holds, as they came too late
DUPLICATE_TRADE: Final = 11
LATE_ROWS: Final = 12  # rows of the buffer of late trades in use
SUM_AT_LIMIT: Final = 13  # rows issued whose volume or notional is beyond 64 bits
SLICES: Final = 14  # rows of the buffer of slices in use
ENDS: Final = 15  # ends of sessions that are remembered
ANCHOR_NS: Final = 16  # what windows are aligned to, less than a day after the epoch
BARS_SIZE: Final = 17

BAR_ANOMALIES: Final = {
    "late_trade": LATE_TRADE,  # came when a window of its had ended; the bar was issued again
    "unknown_break": UNKNOWN_BREAK,  # B of a match that did not print, is broken already, or has left the log
    "duplicate_match": DUPLICATE_MATCH,  # a print with the match number of another one; B breaks the newer
    "duplicate_trade": DUPLICATE_TRADE,  # a print that is in the log already, to the last number; it counts once
    "too_late": TOO_LATE,  # beyond the allowed lateness, or of windows that have left the log: on ``md.late``
    "lost_restatement": LOST_RESTATEMENT,  # the log no longer holds the whole window; the bar stays as it was issued
    "sum_at_limit": SUM_AT_LIMIT,  # a bar issued whose volume or notional is beyond 64 bits, and stands at the greatest
}

SLICES_FIRST: Final = 0
"""Places in the ``counters`` of a partition's alerts: number of the oldest slice in the log."""
SLICES_NEXT: Final = 1
SPREADS_FIRST: Final = 2  # likewise of the log of spreads
SPREADS_NEXT: Final = 3
OPEN: Final = 4  # episodes that go on
STALE_NEXT_NS: Final = 5  # nothing is stale before
END_NEXT_NS: Final = 6  # no episode ends before
MARKET_CLOSED: Final = 7
ROWS: Final = 8  # rows of the buffer in use
ALERTS_SIZE: Final = 16
