"""Why the gate says no: the codes of its denials."""

import re
from enum import StrEnum
from typing import Final

_FOREIGN_CODE: Final = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")


class ReasonCode(StrEnum):
    """Why the gate said no; closed. The numbers compared stand in ``Decision.compared``."""

    ACCOUNT_UNKNOWN = "ACCOUNT_UNKNOWN"
    ACCOUNT_INACTIVE = "ACCOUNT_INACTIVE"
    INSTRUMENT_UNKNOWN = "INSTRUMENT_UNKNOWN"
    INSTRUMENT_HALTED = "INSTRUMENT_HALTED"
    MARK_MISSING = "MARK_MISSING"
    MARK_STALE = "MARK_STALE"
    QTY_NOT_POSITIVE = "QTY_NOT_POSITIVE"
    QTY_OFF_LOT = "QTY_OFF_LOT"
    QTY_TOO_LARGE = "QTY_TOO_LARGE"
    NOTIONAL_TOO_LARGE = "NOTIONAL_TOO_LARGE"
    PRICE_MISSING = "PRICE_MISSING"
    PRICE_UNEXPECTED = "PRICE_UNEXPECTED"
    PRICE_NOT_POSITIVE = "PRICE_NOT_POSITIVE"
    PRICE_OFF_TICK = "PRICE_OFF_TICK"
    PRICE_OUTSIDE_COLLAR = "PRICE_OUTSIDE_COLLAR"
    CASH_INSUFFICIENT = "CASH_INSUFFICIENT"
    POSITION_INSUFFICIENT = "POSITION_INSUFFICIENT"
    SELF_CROSS = "SELF_CROSS"
    HEADROOM_INSUFFICIENT = "HEADROOM_INSUFFICIENT"
    DUPLICATE_ID = "DUPLICATE_ID"
    COMMAND_INVALID = "COMMAND_INVALID"
    BREAK_UNKNOWN = "BREAK_UNKNOWN"
    BREAK_RESOLVED = "BREAK_RESOLVED"

    @classmethod
    def _missing_(cls, value: object) -> "ReasonCode | None":
        """The code of a check from a package outside the services, or of a newer release: read as it is written."""
        if not isinstance(value, str) or _FOREIGN_CODE.fullmatch(value) is None:
            return None
        code = str.__new__(cls, value)
        code._name_ = code._value_ = value
        return code


TRANSIENT_REASONS: Final = frozenset({ReasonCode.INSTRUMENT_HALTED, ReasonCode.MARK_MISSING, ReasonCode.MARK_STALE})
"""Denials of the moment: they are about the market, not about the order or the account, and pass by themselves. The id
is used up by the answer all the same, or a repeated request could trade twice: a new id may pass. Not among them:
PRICE_OUTSIDE_COLLAR, for asking until the quote lets the price through would undo the collar; SELF_CROSS, for it is the
account's to cancel its own order; HEADROOM_INSUFFICIENT, for sizes do not pass.
"""
