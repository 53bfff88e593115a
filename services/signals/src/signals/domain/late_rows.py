"""Rows of trades that came too late for every window."""

from typing import Final

import numpy as np
from common.contracts.market import LATE, LateReason, Lates

from signals.domain.bar_state import BEYOND_LATENESS, LEFT_LOG
from signals.domain.layout import Array

NO_LATES: Final[Lates] = np.zeros(0, LATE)
_REASONS: Final = {BEYOND_LATENESS: LateReason.BEYOND_LATENESS, LEFT_LOG: LateReason.LEFT_LOG}


def late_rows(prints: Array, outcomes: Array) -> Lates:
    """LATE rows of the prints that ``outcomes`` names by their index, with what became of each."""
    if not len(outcomes):
        return NO_LATES
    rows = np.zeros(len(outcomes), LATE)
    for name in ("event_ns", "clock_ns", "match", "price_e4", "qty", "instrument_id"):
        rows[name] = prints[name][outcomes[:, 0]]
    rows["reason"] = [_REASONS[outcome].encode() for outcome in outcomes[:, 1].tolist()]
    return rows
