"""Facts that decisions stand on and nothing else on the log says: ``risk.basis``, a partition beside each of decisions.

With it, the accounts as the ledger has them, and the marks that decisions carry, a decision can be executed again to
the same bytes. Each record holds from the intent on that it names, until another one says otherwise.
"""

from typing import Annotated

from pydantic import Field

from common.contracts.events import Event
from common.contracts.values import AccountId, CashE4, Quantity, Symbol, TimestampNs

Limits = Annotated[dict[str, Quantity], Field(max_length=64)]
"""Limit → its value; a flag is 0 or 1."""


class LimitsOfSymbol(Event):
    """Limits of a symbol that are other than those of all."""

    symbol: Symbol
    limits: Limits


class GateRules(Event):
    """The gate's code and the deployment's limits."""

    release: str = Field(description="version of the risk service")
    checks: dict[str, str] = Field(description="check → digest of its code and of what it calls, in their order")
    limits: Limits
    of_symbols: tuple[LimitsOfSymbol, ...] = ()


class Losses(Event):
    """An account's losses, where a limit asks for them; 2⁶³ - 1: not known."""

    loss_e4: CashE4
    drawdown_e4: CashE4


class MarkBasis(Event):
    """Facts of a mark that its decision does not carry, where a symbol does not trade, or an age is asked for."""

    symbol: Symbol
    partition: int
    offset: int
    trading_state: int = Field(description="code of the letter that ITCH has for it; 0: the feed never said one")
    clock_ns: TimestampNs = Field(description="ingest time of the partition's clock row, as the decision has it")
    clock_event_ns: TimestampNs = Field(description="the exchange's time in that row")


class Basis(Event):
    """From the intent at ``intent_offset`` on, decisions on the account (on all of them: ``_firm``) stand on this.

    Absent: as it was said last. ``controls_seq`` is the number of the ``Controls`` of the account, or of the firm.
    """

    account_id: AccountId
    intent_offset: int = Field(ge=0)
    said_ns: TimestampNs
    gate: GateRules | None = None
    controls_seq: int | None = None
    losses: Losses | None = None
    mark: MarkBasis | None = None
