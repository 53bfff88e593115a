"""Verdicts of other limits on orders that were decided: each judged again as it stood, under each of them.

The account stays what it was: an order that other limits would have let pass has no fills to follow, since no venue
ever saw it. So a verdict here is one more look at the same order, and not another history.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from common.checks.check import CheckChain
from msgspec.structs import replace

from risk.domain.activity import NO_ROW, OF_EQUITY, ActivityRow, activity_of, is_counted, open_orders, with_done
from risk.domain.gate import AccountState, Verdict, decide, listed
from risk.domain.intent import Intent
from risk.domain.limit_values import as_fields, out_of_range
from risk.domain.open_orders import open_in
from risk.reexecution import Executed, done_of


class Scenario(NamedTuple):
    """Limits in the place of those that an order was held to."""

    name: str
    values: Mapping[str, int]


class Change(NamedTuple):
    """An order of which a scenario says something else than the gate said."""

    executed: Executed
    scenario: Scenario
    verdict: Verdict


class UnknownLosses(ValueError):
    """A limit on losses where nobody asked for them, so that the log does not say what they were."""


def calibrated(
    executions: Iterable[Executed], scenarios: Sequence[Scenario], gate: CheckChain
) -> Iterator[tuple[Executed, list[Change]]]:
    """Each decision, and what changes. Raises ValueError for no limit, or one that the log cannot judge."""
    for scenario in scenarios:
        if wrong := out_of_range(scenario.values):
            raise ValueError(f"{scenario.name}: no limit, or none with this value: {dict(wrong)}")
    judges = [_Judge(scenario, gate) for scenario in scenarios]
    for executed in executions:
        verdicts = [(judge.scenario, judge.verdict(executed)) for judge in judges]
        yield executed, [Change(executed, of, verdict) for of, verdict in verdicts if _is_other(executed, verdict)]


def _is_other(executed: Executed, verdict: Verdict) -> bool:
    reason = None if verdict.denial is None else verdict.denial.reason
    return (verdict.denial is None, reason) != (executed.said.accepted, executed.said.reason)


class _Judge:
    """One scenario, and what each account did lately, which the gate counted only where a limit of then asked."""

    def __init__(self, scenario: Scenario, gate: CheckChain) -> None:
        self.scenario = scenario
        self._values = as_fields(scenario.values)
        self._gate = gate
        self._activity: dict[str, ActivityRow] = {}

    def verdict(self, executed: Executed) -> Verdict:
        said, market = executed.said, executed.symbol.market
        intent, limits = Intent(**dict(said.intent)), replace(executed.symbol.limits, **self._values)
        account, position = executed.account, executed.position
        if executed.settled.losses is None and any(self._values.get(name) for name in OF_EQUITY):
            raise UnknownLosses(f"{said.order_id}: no limit asked for the account's losses, so nobody said them")
        activity = executed.case.activity
        if is_counted(limits):
            row = self._activity.get(said.account_id, NO_ROW)
            opened = open_orders(account, position, intent.symbol)
            counts = activity_of(row, intent, opened, limits, said.decided_ns)
            activity = replace(counts, loss_e4=activity.loss_e4, drawdown_e4=activity.drawdown_e4)
            if account is not None and market.instrument is not None:
                done = done_of(said, intent, limits)
                self._activity[said.account_id] = with_done(row, done, limits, said.decided_ns)
        state = AccountState(account, position, *open_in(account, position, intent.symbol), activity)
        return decide(intent, state, listed(market, limits), said.decided_ns, self._gate)
