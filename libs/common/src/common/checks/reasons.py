"""Every denial: why, what that means, and which numbers come with it. Of orders it is what the checks say."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from common.checks.check import Check
from common.checks.gate import CHECKS
from common.contracts.events import ReasonCode


class Denied(NamedTuple):
    """``numbers``: names in ``compared``, with the unit in each. ``check`` is empty where no check says it."""

    check: str
    reason: ReasonCode
    meaning: str
    numbers: tuple[str, ...] = ()


BEFORE_THE_CHECKS: Final = (
    Denied(
        "",
        ReasonCode.DUPLICATE_ID,
        "the id was used with another body; `conflict` names the first field that differs. The earlier order stays",
    ),
)
OF_COMMANDS: Final = (
    Denied("", ReasonCode.ACCOUNT_UNKNOWN, "a command on an account for which no `set_account` was ever seen"),
    Denied("", ReasonCode.ACCOUNT_INACTIVE, "a withdrawal from a suspended account"),
    Denied("", ReasonCode.INSTRUMENT_UNKNOWN, "a FUND with shares of a symbol that is not in `ref.instruments`"),
    Denied(
        "",
        ReasonCode.CASH_INSUFFICIENT,
        "a withdrawal needs more than is available",
        ("required_cash_e4", "available_cash_e4", "shortfall_cash_e4"),
    ),
    Denied(
        "",
        ReasonCode.HEADROOM_INSUFFICIENT,
        "cash or shares could pass 64 bits, were a FUND booked and all open orders of the account filled",
        ("cash_e4", "held_cash_e4", "pending_cash_e4", "cash_max_e4", "qty", "held_qty", "reserved_cash_e4", "qty_max"),
    ),
    Denied(
        "",
        ReasonCode.COMMAND_INVALID,
        "amounts of a command, or of a break to be booked, that are negative, zero, contradictory, or beyond 64 bits "
        "with what is held",
        ("cash_e4", "held_cash_e4", "cash_max_e4", "qty", "held_qty", "qty_max"),
    ),
    Denied("", ReasonCode.BREAK_UNKNOWN, "the account has no break of this id"),
    Denied("", ReasonCode.BREAK_RESOLVED, "the break was booked or refused before"),
)
OF_CONTROLS: Final = (
    Denied("", ReasonCode.ACCOUNT_UNKNOWN, "limits or a trading state of an account that was never opened"),
    Denied(
        "",
        ReasonCode("LIMIT_INVALID"),
        "a proposal with a limit that there is not (named with its value), a value that it cannot have, or an override "
        "without an end, of the firm, or that has ended",
        ("expires_ns", "now_ns"),
    ),
    Denied("", ReasonCode("PROPOSAL_UNKNOWN"), "there is no open proposal of this id"),
    Denied("", ReasonCode("APPROVER_IS_PROPOSER"), "nobody approves what he has proposed"),
    Denied("", ReasonCode("RESUME_NEEDS_PERSON"), "only a person gives back what was stopped"),
    Denied(
        "",
        ReasonCode("TOO_MANY_CONTROLS"),
        "as many are kept already",
        (
            "proposals", "proposals_max", "overrides", "overrides_max", "limit_sets", "limit_sets_max", "states",
            "states_max",
        ),
    ),
)  # fmt: skip


def denials(checks: Sequence[Check] = CHECKS) -> tuple[Denied, ...]:
    """All, in the order in which an intent meets them, and behind them those of commands and of controls."""
    of_checks = (Denied(each.name, each.reason, each.meaning, tuple(each.numbers)) for each in checks)
    return (*BEFORE_THE_CHECKS, *of_checks, *OF_COMMANDS, *OF_CONTROLS)


def meanings(checks: Sequence[Check] = CHECKS) -> dict[ReasonCode, str]:
    """Meaning of each reason: every condition that it is said for."""
    said: dict[ReasonCode, list[str]] = {}
    for denied in denials(checks):
        said.setdefault(denied.reason, []).append(denied.meaning)
    return {reason: "; or ".join(each) for reason, each in said.items()}


def denial_table(checks: Sequence[Check] = CHECKS) -> str:
    """Markdown: one row for each check, and for each denial that no check says."""
    lines = ["| check | reason | means | numbers compared |", "|---|---|---|---|"]
    for denied in denials(checks):
        name = f"`{denied.check}`" if denied.check else ""
        numbers = ", ".join(f"`{number}`" for number in denied.numbers)
        lines.append(f"| {name} | `{denied.reason}` | {denied.meaning} | {numbers} |")
    return "\n".join(lines)
