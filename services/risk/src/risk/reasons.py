"""What each reason code means, and which numbers come with it.

    python -m risk.reasons

prints the table of the README; a test compares the two, and the numbers with what the gate says.
"""

from typing import Final, NamedTuple

from common.contracts.events import ReasonCode


class Reason(NamedTuple):
    """``numbers``: names in ``compared``; the unit is in each name."""

    meaning: str
    numbers: tuple[str, ...] = ()


REASONS: Final[dict[ReasonCode, Reason]] = {
    ReasonCode.DUPLICATE_ID: Reason(
        "the id was used with another body; `conflict` names the first field that differs. The earlier order stays"
    ),
    ReasonCode.ACCOUNT_UNKNOWN: Reason("no `set_account` was ever seen for it"),
    ReasonCode.ACCOUNT_INACTIVE: Reason("the account is suspended"),
    ReasonCode.INSTRUMENT_UNKNOWN: Reason("the symbol is not in `ref.instruments`"),
    ReasonCode.INSTRUMENT_HALTED: Reason(
        "the feed's last word on the symbol is not trading, or it never said one", ("trading_state",)
    ),
    ReasonCode.MARK_MISSING: Reason(
        "the symbol has no mark, its partition no clock, the side that a MARKET order needs is empty, or a LIMIT order "
        "meets neither that side nor a last sale",
        ("ask_e4", "bid_e4", "last_e4"),
    ),
    ReasonCode.MARK_STALE: Reason(
        "the clock of the mark's partition stands still, or is as far ahead of ours",
        ("mark_age_ns", "mark_age_max_ns"),
    ),
    ReasonCode.QTY_NOT_POSITIVE: Reason("zero or less", ("qty",)),
    ReasonCode.QTY_OFF_LOT: Reason("no multiple of the instrument's lot", ("qty", "lot_qty")),
    ReasonCode.QTY_TOO_LARGE: Reason("the quantity is above the operator's limit", ("qty", "qty_max")),
    ReasonCode.PRICE_MISSING: Reason("a LIMIT order without a price"),
    ReasonCode.PRICE_UNEXPECTED: Reason("a MARKET order with a price", ("limit_price_e4",)),
    ReasonCode.PRICE_NOT_POSITIVE: Reason("zero or less", ("limit_price_e4",)),
    ReasonCode.PRICE_OFF_TICK: Reason(
        "no multiple of the increment, which is finer below one currency unit (Regulation NMS, rule 612)",
        ("limit_price_e4", "tick_e4"),
    ),
    ReasonCode.PRICE_OUTSIDE_COLLAR: Reason(
        "a LIMIT BUY too far above the offer or a LIMIT SELL too far below the bid; above or below the last sale where "
        "that side is empty",
        ("limit_price_e4", "ask_e4", "bid_e4", "last_e4", "price_max_e4", "price_min_e4"),
    ),
    ReasonCode.NOTIONAL_TOO_LARGE: Reason(
        "price times quantity is above the operator's limit, which itself fits 64 bits",
        ("qty", "qty_max", "notional_max_e4"),
    ),
    ReasonCode.CASH_INSUFFICIENT: Reason(
        "a BUY, or a withdrawal, needs more than is available; nothing is bought on credit",
        ("required_cash_e4", "available_cash_e4", "shortfall_cash_e4"),
    ),
    ReasonCode.POSITION_INSUFFICIENT: Reason(
        "a SELL needs more shares than are available; nothing is sold short",
        ("required_qty", "available_qty", "shortfall_qty"),
    ),
    ReasonCode.SELF_CROSS: Reason(
        "its worst price meets an open order of the same account on the other side", ("price_e4", "crossed_price_e4")
    ),
    ReasonCode.HEADROOM_INSUFFICIENT: Reason(
        "cash or shares could pass 64 bits, were it and all open orders of the account filled; or a FUND could",
        (
            "proceeds_max_e4",
            "cash_e4",
            "held_cash_e4",
            "pending_cash_e4",
            "cash_max_e4",
            "qty",
            "held_qty",
            "reserved_cash_e4",
            "qty_max",
        ),
    ),
    ReasonCode.COMMAND_INVALID: Reason(
        "amounts of a command, or of a break to be booked, that are negative, zero, contradictory, or beyond 64 bits "
        "with what is held",
        ("cash_e4", "held_cash_e4", "cash_max_e4", "qty", "held_qty", "qty_max"),
    ),
    ReasonCode.BREAK_UNKNOWN: Reason("the account has no break of this id"),
    ReasonCode.BREAK_RESOLVED: Reason("the break was booked or refused before"),
}
"""In the order in which an intent meets them; COMMAND_INVALID and those after it are for commands alone."""


def reason_table() -> str:
    """Markdown."""
    lines = ["| reason | means | numbers compared |", "|---|---|---|"]
    for code, reason in REASONS.items():
        lines.append(f"| `{code}` | {reason.meaning} | {', '.join(f'`{name}`' for name in reason.numbers)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(reason_table())  # noqa: T201
