"""Bodies of requests on limits and trading states: the contracts' messages without what the path says."""

from common.contracts.controls import (
    Note,
    Person,
    ProposalVerdict,
    ProposeLimits,
    ResolveLimits,
    SetTradingState,
    TradingState,
    Values,
)
from common.contracts.events import Event
from common.contracts.values import ClientOrderId, Symbol, TimestampNs
from pydantic import ConfigDict, Field


class ProposeRequest(Event):
    """Limits for an account or the firm, in one symbol or in all; with a `client_order_id` for that order alone."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "command_id": "limits-7",
                    "symbol": "AAPL",
                    "values": {"order_qty_max": 5_000},
                    "by": "ann",
                    "note": "earnings tonight",
                }
            ]
        }
    )

    command_id: ClientOrderId
    symbol: Symbol | None = None
    values: Values = Field(description="limit to value, a flag is 0 or 1; none: what was said before is taken back")
    effective_ns: TimestampNs = Field(default=0, description="when they begin; in the past: once they are approved")
    client_order_id: ClientOrderId | None = None
    expires_ns: TimestampNs | None = Field(default=None, description="end of an override; only for one order")
    by: Person
    note: Note

    def command(self, account_id: str, sent_ns: int) -> ProposeLimits:
        return ProposeLimits(account_id=account_id, sent_ns=sent_ns, **self.model_dump())


class ResolveRequest(Event):
    """Word of somebody else than who proposed them on limits."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"command_id": "limits-8", "verdict": "APPROVE", "by": "bob", "note": "as agreed"}]
        }
    )

    command_id: ClientOrderId
    verdict: ProposalVerdict
    by: Person
    note: Note

    def command(self, account_id: str, proposal_id: str, sent_ns: int) -> ResolveLimits:
        return ResolveLimits(account_id=account_id, proposal_id=proposal_id, sent_ns=sent_ns, **self.model_dump())


class StateRequest(Event):
    """Whether the account or the firm may trade the symbol, or anything. Cancels always pass."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"command_id": "halt-1", "state": "HALTED", "by": "cat", "note": "runaway strategy"}]
        }
    )

    command_id: ClientOrderId
    symbol: Symbol | None = None
    state: TradingState
    automatic: bool = Field(default=False, description="whoever is no person may only make trading less")
    by: Person
    note: Note

    def command(self, account_id: str, sent_ns: int) -> SetTradingState:
        return SetTradingState(account_id=account_id, sent_ns=sent_ns, **self.model_dump())
