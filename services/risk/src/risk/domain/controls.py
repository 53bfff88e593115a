"""Limits and trading states as people change them: who may, and what stands afterwards. Pure.

A limit is proposed by one person and approved by another. Approved values take the place of those that were said before
of the same symbol (or of all), from the moment on that they name. A trading state is set by anybody, since to stop is
never wrong; whoever is no person may not give back what was taken.
"""

from typing import Final

from common.contracts.controls import (
    FIRM,
    ControlCommand,
    Controls,
    LimitSet,
    Override,
    Proposal,
    ProposalVerdict,
    ProposeLimits,
    ResolveLimits,
    SetTradingState,
    StateSet,
    TradingState,
)
from common.contracts.events import ReasonCode

from risk.domain.gate import Denial
from risk.domain.limit_values import out_of_range

SETS_MAX: Final = 1_024
"""Sets of limits of an account or of the firm, and as many states."""
PROPOSALS_MAX: Final = 64
OVERRIDES_MAX: Final = 64
SEVERITY: Final = {TradingState.ACTIVE: 0, TradingState.REDUCING: 1, TradingState.HALTED: 2}


def carry_out_control(controls: Controls, command: ControlCommand, now_ns: int) -> Controls | Denial:
    """The controls after the command, or why it is denied."""
    match command:
        case ProposeLimits():
            made = _proposed(controls, command, now_ns)
        case ResolveLimits():
            made = _resolved(controls, command, now_ns)
        case SetTradingState():
            made = _with_state(controls, command, now_ns)
    if isinstance(made, Denial):
        return made
    young = tuple(each for each in made.overrides if each.expires_ns > now_ns)
    return made.model_copy(update={"seq": controls.seq + 1, "overrides": young})


def _denied(reason: str, **compared: int) -> Denial:
    return Denial(ReasonCode(reason), compared)


def _proposed(controls: Controls, command: ProposeLimits, now_ns: int) -> Controls | Denial:
    if wrong := out_of_range(command.values):
        return _denied("LIMIT_INVALID", **wrong)
    of_one_order = command.client_order_id is not None
    if of_one_order is not (command.expires_ns is not None):
        return _denied("LIMIT_INVALID")
    if of_one_order and command.account_id == FIRM:
        return _denied("LIMIT_INVALID")
    if command.expires_ns is not None and command.expires_ns <= now_ns:
        return _denied("LIMIT_INVALID", expires_ns=command.expires_ns, now_ns=now_ns)
    if len(controls.proposals) >= PROPOSALS_MAX:
        return _denied("TOO_MANY_CONTROLS", proposals=len(controls.proposals), proposals_max=PROPOSALS_MAX)
    proposal = Proposal(
        proposal_id=command.command_id,
        symbol=command.symbol,
        values=command.values,
        effective_ns=command.effective_ns,
        client_order_id=command.client_order_id,
        expires_ns=command.expires_ns,
        by=command.by,
        note=command.note,
        proposed_ns=now_ns,
    )
    return controls.model_copy(update={"proposals": (*controls.proposals, proposal)})


def _resolved(controls: Controls, command: ResolveLimits, now_ns: int) -> Controls | Denial:
    proposal = next((each for each in controls.proposals if each.proposal_id == command.proposal_id), None)
    if proposal is None:
        return _denied("PROPOSAL_UNKNOWN")
    rest = tuple(each for each in controls.proposals if each is not proposal)
    if command.verdict is ProposalVerdict.REJECT:
        return controls.model_copy(update={"proposals": rest})
    if command.by == proposal.by:
        return _denied("APPROVER_IS_PROPOSER")
    resolved = controls.model_copy(update={"proposals": rest, "version": controls.version + 1})
    if proposal.client_order_id is not None:
        return _with_override(resolved, proposal, command.by, now_ns)
    return _with_limits(resolved, proposal, command.by, now_ns)


def _with_override(controls: Controls, proposal: Proposal, approved_by: str, now_ns: int) -> Controls | Denial:
    assert proposal.client_order_id is not None and proposal.expires_ns is not None
    if proposal.expires_ns <= now_ns:
        return _denied("LIMIT_INVALID", expires_ns=proposal.expires_ns, now_ns=now_ns)
    others = tuple(
        each
        for each in controls.overrides
        if each.client_order_id != proposal.client_order_id and each.expires_ns > now_ns
    )
    if len(others) >= OVERRIDES_MAX:
        return _denied("TOO_MANY_CONTROLS", overrides=len(others), overrides_max=OVERRIDES_MAX)
    override = Override(
        client_order_id=proposal.client_order_id,
        values=proposal.values,
        version=controls.version,
        expires_ns=proposal.expires_ns,
        proposed_by=proposal.by,
        approved_by=approved_by,
        note=proposal.note,
    )
    return controls.model_copy(update={"overrides": (*others, override)})


def _with_limits(controls: Controls, proposal: Proposal, approved_by: str, now_ns: int) -> Controls | Denial:
    begins_ns = max(proposal.effective_ns, now_ns)
    same = [each for each in controls.limits if each.symbol == proposal.symbol]
    begun = [each for each in same if each.effective_ns <= now_ns]
    # What would begin later than these was approved before them, and is not to take their place.
    due = [each for each in same if now_ns < each.effective_ns < begins_ns]
    stays = [*([max(begun, key=_order)] if begun and begins_ns > now_ns else []), *due]
    new = LimitSet(
        symbol=proposal.symbol,
        values=proposal.values,
        version=controls.version,
        effective_ns=begins_ns,
        proposed_by=proposal.by,
        approved_by=approved_by,
        note=proposal.note,
    )
    others = tuple(each for each in controls.limits if each.symbol != proposal.symbol)
    limits = (*others, *stays, new)
    if len(limits) > SETS_MAX:
        return _denied("TOO_MANY_CONTROLS", limit_sets=len(limits), limit_sets_max=SETS_MAX)
    return controls.model_copy(update={"limits": limits})


def _order(limits: LimitSet) -> tuple[int, int]:
    """The greater has begun later, or was approved later."""
    return limits.effective_ns, limits.version


def _with_state(controls: Controls, command: SetTradingState, now_ns: int) -> Controls | Denial:
    before = next((each.state for each in controls.states if each.symbol == command.symbol), TradingState.ACTIVE)
    if command.automatic and SEVERITY[command.state] < SEVERITY[before]:
        return _denied("RESUME_NEEDS_PERSON")
    states = tuple(each for each in controls.states if each.symbol != command.symbol)
    if command.state is not TradingState.ACTIVE:
        said = StateSet(symbol=command.symbol, state=command.state, by=command.by, note=command.note, since_ns=now_ns)
        states = (*states, said)
    if len(states) > SETS_MAX:
        return _denied("TOO_MANY_CONTROLS", states=len(states), states_max=SETS_MAX)
    return controls.model_copy(update={"states": states})
