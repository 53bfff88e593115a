"""Limits and trading states that people change while the gate works: ``risk.control-commands`` and ``risk.controls``.

Keys are the account that a command is about, or FIRM. Whatever is said of an account or of the firm is said of one
symbol or of all.
"""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from common.contracts.events import Caller, Event
from common.contracts.personal import Personal
from common.contracts.reason_codes import ReasonCode
from common.contracts.values import AccountId, ClientOrderId, Quantity, Symbol, TimestampNs

FIRM: Final = "_firm"
"""Stands for all accounts where an account's id is asked for; no account can be opened under it."""

Person = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9@._-]{0,63}$"), Personal.TEXT]
Note = Annotated[str, StringConstraints(min_length=1, max_length=500), Personal.TEXT]
Values = Annotated[dict[str, Quantity], Field(max_length=64)]
"""Limit → its value; a flag is 0 or 1."""


class TradingState(StrEnum):
    """May orders be entered: all, those that make positions smaller, or none. Cancels always may."""

    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"
    HALTED = "HALTED"


class ProposalVerdict(StrEnum):
    APPROVE = "APPROVE"
    REJECT = "REJECT"


# --- risk.control-commands ----------------------------------------------------------------------------------------


class ProposeLimits(Event):
    """Somebody wants other limits; they are in force once another person has approved them.

    ``values`` take the place of all that was said before of the account (or the firm) in the symbol; none of them takes
    back what was said. With ``client_order_id`` they are for that order of the account alone, until ``expires_ns``.
    """

    type: Literal["propose_limits"] = "propose_limits"
    command_id: ClientOrderId
    account_id: AccountId
    symbol: Symbol | None = None
    values: Values
    effective_ns: TimestampNs = Field(default=0, description="when they begin; in the past: once they are approved")
    client_order_id: ClientOrderId | None = None
    expires_ns: TimestampNs | None = Field(default=None, description="end of an override; only for one order")
    by: Person
    note: Note
    sent_ns: TimestampNs
    who: Caller | None = None


class ResolveLimits(Event):
    """Somebody else's word on a proposal, which ``proposal_id``, the command that made it, names."""

    type: Literal["resolve_limits"] = "resolve_limits"
    command_id: ClientOrderId
    account_id: AccountId
    proposal_id: ClientOrderId
    verdict: ProposalVerdict
    by: Person
    note: Note
    sent_ns: TimestampNs
    who: Caller | None = None


class SetTradingState(Event):
    """The kill switch. Whoever is no person (``automatic``) may make trading less, and never more again."""

    type: Literal["set_trading_state"] = "set_trading_state"
    command_id: ClientOrderId
    account_id: AccountId
    symbol: Symbol | None = None
    state: TradingState
    automatic: bool = False
    by: Person
    note: Note
    sent_ns: TimestampNs
    who: Caller | None = None


ControlCommand = Annotated[ProposeLimits | ResolveLimits | SetTradingState, Field(discriminator="type")]


# --- risk.controls ------------------------------------------------------------------------------------------------


class LimitSet(Event):
    """Approved values of one symbol, or of all, from ``effective_ns`` on. The newest version that has begun counts."""

    symbol: Symbol | None = None
    values: Values
    version: int
    effective_ns: TimestampNs
    proposed_by: Person
    approved_by: Person
    note: Note


class Override(Event):
    """Approved values for one order, which are of no use after ``expires_ns``."""

    client_order_id: ClientOrderId
    values: Values
    version: int
    expires_ns: TimestampNs
    proposed_by: Person
    approved_by: Person
    note: Note


class Proposal(Event):
    """Values that nobody has approved yet."""

    proposal_id: ClientOrderId
    symbol: Symbol | None = None
    values: Values
    effective_ns: TimestampNs
    client_order_id: ClientOrderId | None = None
    expires_ns: TimestampNs | None = None
    by: Person
    note: Note
    proposed_ns: TimestampNs


class StateSet(Event):
    """A symbol, or all, that may not be traded as usual, since when, by whose word and why."""

    symbol: Symbol | None = None
    state: TradingState
    by: Person
    note: Note
    since_ns: TimestampNs


class Controls(Event):
    """All that is said of one account, or of the firm. ``seq`` counts changes, ``version`` those of limits."""

    account_id: AccountId
    seq: int = 0
    version: int = 0
    limits: tuple[LimitSet, ...] = ()
    overrides: tuple[Override, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    states: tuple[StateSet, ...] = ()


class ControlResult(Event):
    """The gate's answer to one record of ``risk.control-commands``. Key: account_id, or FIRM.

    ``controls`` are those after the command, where it changed any. What changes the firm's stands in every partition.
    """

    account_id: AccountId
    command_id: ClientOrderId
    accepted: bool
    reason: ReasonCode | None = None
    compared: dict[str, int] = Field(default_factory=dict)
    conflict: str | None = Field(default=None, description="the first field that differs, with DUPLICATE_ID")
    repeat: bool = False
    controls: Controls | None = None
    decided_ns: TimestampNs
    command_partition: int
    command_offset: int
