"""Commands on limits and trading states, for tests."""

from typing import Any

from common.contracts.controls import (
    FIRM,
    ProposalVerdict,
    ProposeLimits,
    ResolveLimits,
    SetTradingState,
    TradingState,
)
from common.testing.orders import NOW_NS


def propose(command_id: str, account_id: str = FIRM, *, by: str = "ann", **fields: Any) -> ProposeLimits:
    """Limits that somebody wants."""
    return ProposeLimits(
        command_id=command_id, account_id=account_id, by=by, note="wanted", sent_ns=NOW_NS, **{"values": {}, **fields}
    )


def resolve(
    command_id: str,
    proposal_id: str,
    account_id: str = FIRM,
    *,
    by: str = "bob",
    verdict: ProposalVerdict = ProposalVerdict.APPROVE,
) -> ResolveLimits:
    """Another person's word on a proposal."""
    return ResolveLimits(
        command_id=command_id,
        account_id=account_id,
        proposal_id=proposal_id,
        verdict=verdict,
        by=by,
        note="looked at",
        sent_ns=NOW_NS,
    )


def set_state(
    command_id: str,
    state: TradingState,
    account_id: str = FIRM,
    *,
    symbol: str | None = None,
    automatic: bool = False,
) -> SetTradingState:
    """The kill switch."""
    return SetTradingState(
        command_id=command_id,
        account_id=account_id,
        symbol=symbol,
        state=state,
        automatic=automatic,
        by="cat",
        note="for a reason",
        sent_ns=NOW_NS,
    )
