"""Denials that halt the account, where a limit says so: too many orders of one body, and all of a limit used. Pure.

Who repeats himself without an end is disabled until a person enables him (MiFID II RTS 6, article 15 (4) and SEC rule
15c3-5 (c)(1)(ii)); at all of a limit nothing more is taken, and what is open is canceled.
"""

from typing import Final

from common.checks.case import LimitFields

REPEATS: Final = frozenset({"no_recent_twin"})
AT_LIMITS: Final = frozenset(
    {
        "exposure_bounded",
        "position_bounded",
        "position_notional_bounded",
        "daily_loss_bounded",
        "drawdown_bounded",
        "open_orders_bounded",
        "open_notional_bounded",
        "window_orders_bounded",
        "window_qty_bounded",
        "window_notional_bounded",
        "intents_not_throttled",
    }
)
"""Checks by name."""


def may_halt(limits: LimitFields) -> bool:
    """Whether a denial under these limits may halt the account."""
    return limits.halt_on_repeats or limits.halt_at_limits


def halts(limits: LimitFields, check: str) -> bool:
    """Whether a denial by this check does."""
    return (limits.halt_on_repeats and check in REPEATS) or (limits.halt_at_limits and check in AT_LIMITS)
