"""The judge of what a venue says: whether an execution report can be true of an order. Pure.

Gate and lifecycle both ask it, each with its own tables, and must hear the same. So a verdict depends on nothing but
the order's facts, which stand in the decision that accepted it, and on the reports on that order before this one, in
the order of ``orders.executions``: never on cancel requests, clocks, balances, or what an operator made of a break.
What is accepted or refused is remembered by execution id, so that a report that is sent again moves nothing twice.

``RULES`` has a row for every ExecType. Quantities are FIX's: while an order is open, leaves = quantity - cum (FIX 4.4,
volume 7, appendix D). Hence a trade that is busted on an open order is open again. An order that has ended never opens
again: after its end a bust lowers cum and leaves stay 0, as FIX has it for an order that was canceled before the bust.

An order that a venue says has ended has ended, whatever it says was traded: nothing more is held for it. Where the
venue counts other shares than it told of, the end is accepted and doubted.

A report that is refused is a break, and so is a doubt (``contracts.breaks``). The judge also says what such a report
would move, so that whoever books it by hand moves the same in every place.

A venue goes on counting what was refused to it. So a break remembers by how much the venue's count differs from the one
here, and a later report may count on from either: a difference is said once, whatever a person makes of it and when.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import blake2b
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from common.contracts.breaks import BreakReason
from common.contracts.events import ExecType, ExecutionReport
from common.contracts.values import INT64_MAX, Side
from common.reported import (
    NO_EFFECT,
    NOT_OF_THE_ORDER,
    Effect,
    End,
    Execution,
    Executions,
    OrderFacts,
    Progress,
    Register,
)


class Accept(msgspec.Struct, frozen=True, gc=False):
    """The report is true: the order after it, what it moves, and what must be remembered."""

    progress: Progress
    effect: Effect = NO_EFFECT
    executions: Executions = {}
    doubt: "Refusal | None" = None
    """A contradiction that is accepted all the same: the order has ended, yet the venue counts otherwise."""


class Repeat(msgspec.Struct, frozen=True, gc=False):
    """The report was judged before, or says nothing of an order; nothing changes."""


class Break(msgspec.Struct, frozen=True, gc=False):
    """The report is refused: why, the numbers, what it would move, and what must be remembered."""

    reason: BreakReason
    compared: Mapping[str, int]
    effect: Effect
    executions: Executions
    progress: Progress
    """The order after it: nothing has moved, but the venue has said how much it counts."""


Verdict = Accept | Repeat | Break
TRADES: Final = frozenset({ExecType.TRADE, ExecType.TRADE_CANCEL, ExecType.TRADE_CORRECT})
"""Reports that move shares."""


def judge(facts: OrderFacts | None, progress: Progress, register: Register, report: ExecutionReport) -> Verdict:
    """The verdict on a report that names this order. ``facts`` is None for an order that was never accepted."""
    if report.exec_type is ExecType.CANCEL_REJECTED:
        # FIX's OrderCancelReject is no execution: it has no ExecID, and moves nothing whatever became of the order.
        return Accept(progress) if facts is not None and _is_of_its_account(report) else Repeat()
    digest = digest_of(report)
    seen = register(report.execution_id)
    if seen is not None and (seen.digest in ("", digest) or register(reused_id(report, digest)) is not None):
        return Repeat()
    case = Case(facts, progress, report, register(report.ref_execution_id) if report.ref_execution_id else None)
    rule = RULES[report.exec_type]
    effect = rule.effect(case)
    after = case.after(effect)
    refusal = _refusal(case, effect, after, reused=seen is not None)
    if refusal is not None:
        key = report.execution_id if seen is None else reused_id(report, digest)
        # Whoever books a refused fill believes it whole: it ends the order where it says that nothing is left.
        effect = effect._replace(ends=rule.end is not None or (effect.fill_qty > 0 and report.leaves_qty == 0))
        progress = case.progress_refused(refusal.reason)
        return Break(refusal.reason, refusal.compared, effect, {key: Execution(digest)}, progress)
    executions = {report.execution_id: Execution(digest, effect.fill_qty, effect.fill_price_e4)}
    if effect.back_qty:
        assert case.referred is not None and report.ref_execution_id is not None
        executions[report.ref_execution_id] = Execution(case.referred.digest)
    return Accept(after, effect, executions, _first(rule.doubts, case, effect, after))


def digest_of(report: ExecutionReport) -> str:
    """Tells two reports under one id apart. When and with which words a venue said it does not count."""
    r = report
    # What a venue chooses freely stands last, so that no two bodies make the same text.
    body = (
        f"{r.exec_type} {r.symbol} {r.side} {r.last_qty} {r.last_price_e4} {r.cum_qty} {r.leaves_qty} "
        f"{r.ref_execution_id}"
    )
    return blake2b(body.encode(), digest_size=16).hexdigest()


def reused_id(report: ExecutionReport, digest: str) -> str:
    """Under which another body of a used execution id is remembered."""
    return f"{report.execution_id}\0{digest}"


# --- rules --------------------------------------------------------------------------------------------------------


class Refusal(NamedTuple):
    """Why a report cannot be true, with the numbers."""

    reason: BreakReason
    compared: Mapping[str, int]


class Case(msgspec.Struct, frozen=True, gc=False):
    """A report beside what is known of its order."""

    facts: OrderFacts | None
    progress: Progress
    report: ExecutionReport
    referred: Execution | None
    """The execution that a bust or a correction names."""

    @property
    def order(self) -> OrderFacts:
        """The facts, once it is known that there are any."""
        assert self.facts is not None
        return self.facts

    def after(self, effect: Effect) -> Progress:
        """The order once the report is accepted."""
        before = self.progress
        cum_qty = before.cum_qty + effect.fill_qty - effect.back_qty
        notional_e4 = (
            before.notional_e4 + effect.fill_qty * effect.fill_price_e4 - effect.back_qty * effect.back_price_e4
        )
        ended = before.ended
        if ended is None and effect.ends:
            ended = RULES[self.report.exec_type].end or End.FILLED
        return Progress(True, cum_qty, notional_e4, ended, self._counted_by_the_venue() - cum_qty)

    def progress_refused(self, reason: BreakReason) -> Progress:
        """The order once the report is refused: the venue counts what it has said.

        Fewer than here only after a bust or a correction: a session that begins anew, and repeats its fills under new
        ids, must not be believed twice. What is not about this order, or trades nothing, says nothing of the count.
        """
        exec_type = self.report.exec_type
        if self.facts is None or reason in NOT_OF_THE_ORDER or exec_type not in TRADES:
            return self.progress
        excess_qty = self._counted_by_the_venue() - self.progress.cum_qty
        if exec_type is ExecType.TRADE:
            excess_qty = max(0, excess_qty)
        return replace(self.progress, excess_qty=excess_qty)

    def _counted_by_the_venue(self) -> int:
        return max(0, self.report.cum_qty)

    def counted_on_qty(self, change_qty: int) -> int:
        """The excess, where the report counts on from what the venue said last and not from the count here."""
        own_qty = self.progress.cum_qty + change_qty
        excess_qty = self.progress.excess_qty
        return excess_qty if self.report.cum_qty == own_qty + excess_qty else 0


def _is_of_its_account(report: ExecutionReport) -> bool:
    return report.order_id.startswith(f"{report.account_id}.")


Check = Callable[[Case, Effect, Progress], Refusal | None]
"""Given the report's effect, and the order's progress after it."""


def _first(checks: tuple[Check, ...], case: Case, effect: Effect, after: Progress) -> Refusal | None:
    for check in checks:
        if (refusal := check(case, effect, after)) is not None:
            return refusal
    return None


def _refusal(case: Case, effect: Effect, after: Progress, *, reused: bool) -> Refusal | None:
    """The first rule that the report breaks."""
    facts, report = case.facts, case.report
    if not _is_of_its_account(report):
        return Refusal(BreakReason.ORDER_MISMATCH, {})
    if facts is None:
        return Refusal(BreakReason.ORDER_UNKNOWN, {})
    if report.symbol != facts.symbol or report.side is not facts.side:
        return Refusal(BreakReason.ORDER_MISMATCH, {})
    if facts.denied:
        return Refusal(BreakReason.ORDER_DENIED, {})
    if reused:
        return Refusal(BreakReason.EXECUTION_ID_REUSED, {})
    return _first(RULES[report.exec_type].checks, case, effect, after)


def _trades_before_the_end(case: Case, _e: Effect, _a: Progress) -> Refusal | None:
    if case.progress.ended is None:
        return None
    compared = {"last_qty": case.report.last_qty, "cum_qty": case.progress.cum_qty, "leaves_qty": 0}
    return Refusal(BreakReason.FILL_AFTER_END, compared)


def _said_before_the_end(case: Case, _e: Effect, _a: Progress) -> Refusal | None:
    if case.progress.ended is None:
        return None
    return Refusal(BreakReason.REPORT_AFTER_END, {"cum_qty": case.progress.cum_qty, "order_qty": case.order.qty})


def _rejected_before_acknowledged(case: Case, _e: Effect, _a: Progress) -> Refusal | None:
    if not case.progress.acknowledged:
        return None
    return Refusal(BreakReason.REJECT_AFTER_ACKNOWLEDGE, {"cum_qty": case.progress.cum_qty})


def _leaves_nothing(case: Case, _e: Effect, _a: Progress) -> Refusal | None:
    if not case.report.leaves_qty:
        return None
    return Refusal(BreakReason.QUANTITIES_DISAGREE, {"reported_leaves_qty": case.report.leaves_qty, "leaves_qty": 0})


def _amounts_positive(case: Case, effect: Effect, _a: Progress) -> Refusal | None:
    if effect.fill_qty > 0 and effect.fill_price_e4 > 0:
        return None
    compared = {"last_qty": case.report.last_qty, "last_price_e4": case.report.last_price_e4}
    return Refusal(BreakReason.AMOUNT_NOT_POSITIVE, compared)


def _within_quantity(case: Case, effect: Effect, after: Progress) -> Refusal | None:
    if after.cum_qty <= case.order.qty:
        return None
    open_qty = case.order.qty - case.progress.cum_qty + effect.back_qty
    compared = {"last_qty": effect.fill_qty, "open_qty": open_qty, "excess_qty": after.cum_qty - case.order.qty}
    return Refusal(BreakReason.OVERFILL, compared)


def _within_limit(case: Case, effect: Effect, _a: Progress) -> Refusal | None:
    price_e4, worst_e4 = effect.fill_price_e4, case.order.worst_price_e4
    within = price_e4 <= worst_e4 if case.order.side is Side.BUY else price_e4 >= worst_e4
    if within:
        return None
    return Refusal(BreakReason.PRICE_BEYOND_LIMIT, {"last_price_e4": price_e4, "worst_price_e4": worst_e4})


def _quantities_agree(case: Case, effect: Effect, after: Progress) -> Refusal | None:
    report = case.report
    own_leaves_qty = 0 if after.ended else case.order.qty - after.cum_qty
    if report.cum_qty == after.cum_qty and report.leaves_qty == own_leaves_qty:
        return None
    if counted_on_qty := case.counted_on_qty(effect.fill_qty - effect.back_qty):
        open_qty = 0 if after.ended else case.order.qty - after.cum_qty - counted_on_qty
        if report.leaves_qty == open_qty >= 0:
            return None
    compared = {
        "reported_cum_qty": report.cum_qty,
        "cum_qty": after.cum_qty,
        "reported_leaves_qty": report.leaves_qty,
        "leaves_qty": own_leaves_qty,
    }
    return Refusal(BreakReason.QUANTITIES_DISAGREE, compared)


def _fits_64_bits(_c: Case, effect: Effect, after: Progress) -> Refusal | None:
    if after.notional_e4 <= INT64_MAX:
        return None
    compared = {"last_qty": effect.fill_qty, "last_price_e4": effect.fill_price_e4, "notional_max_e4": INT64_MAX}
    return Refusal(BreakReason.AMOUNT_OVERFLOW, compared)


def _names_a_fill_that_stands(case: Case, _e: Effect, _a: Progress) -> Refusal | None:
    if case.referred is not None and case.referred.qty > 0:
        return None
    return Refusal(BreakReason.BUST_UNKNOWN, {})


def _takes_back_all_of_it(case: Case, effect: Effect, _a: Progress) -> Refusal | None:
    """A bust may leave the quantity out. One that names another quantity than was traded is about something else."""
    if case.report.last_qty in (0, effect.back_qty):
        return None
    return Refusal(BreakReason.QUANTITIES_DISAGREE, {"last_qty": case.report.last_qty, "traded_qty": effect.back_qty})


def _nothing(_: Case) -> Effect:
    return NO_EFFECT


def _end(_: Case) -> Effect:
    return Effect(ends=True)


def _fill(case: Case) -> Effect:
    qty = case.report.last_qty
    return Effect(fill_qty=qty, fill_price_e4=case.report.last_price_e4, ends=_completes(case, qty))


def _bust(case: Case) -> Effect:
    """The fill that is taken back: as it was accepted, or where it is not known here, as the report says."""
    qty, price_e4 = _referred(case)
    return Effect(back_qty=qty, back_price_e4=price_e4)


def _correction(case: Case) -> Effect:
    """The new fill, and the one that it replaces where that is known here."""
    known = case.referred is not None and case.referred.qty > 0
    back_qty, back_price_e4 = _referred(case) if known else (0, 0)
    return Effect(
        fill_qty=case.report.last_qty,
        fill_price_e4=case.report.last_price_e4,
        back_qty=back_qty,
        back_price_e4=back_price_e4,
        ends=_completes(case, case.report.last_qty - back_qty),
    )


def _referred(case: Case) -> tuple[int, int]:
    if case.referred is not None and case.referred.qty > 0:
        return case.referred.qty, case.referred.price_e4
    return case.report.last_qty, case.report.last_price_e4


def _completes(case: Case, qty: int) -> bool:
    """Whether so many shares more are the last ones of an open order, by the count here or the venue's."""
    if case.facts is None or case.progress.ended is not None:
        return False
    return case.progress.cum_qty + qty + case.counted_on_qty(qty) == case.facts.qty


class Rule(NamedTuple):
    """Rule of one type of report: its effect, its conditions, the order's end by it, and what should hold besides."""

    effect: Callable[[Case], Effect]
    checks: tuple[Check, ...]
    end: End | None = None
    doubts: tuple[Check, ...] = ()


_FILL_CHECKS: Final = (_amounts_positive, _within_quantity, _within_limit, _quantities_agree, _fits_64_bits)
_END_CHECKS: Final = (_said_before_the_end, _leaves_nothing)
_END_DOUBTS: Final = (_quantities_agree,)

RULES: Final[Mapping[ExecType, Rule]] = MappingProxyType(
    {
        ExecType.NEW: Rule(_nothing, (_said_before_the_end, _quantities_agree)),
        ExecType.TRADE: Rule(_fill, (_trades_before_the_end, *_FILL_CHECKS)),
        ExecType.CANCELED: Rule(_end, _END_CHECKS, End.CANCELED, _END_DOUBTS),
        ExecType.EXPIRED: Rule(_end, _END_CHECKS, End.EXPIRED, _END_DOUBTS),
        ExecType.REJECTED: Rule(
            _end, (_said_before_the_end, _rejected_before_acknowledged, _leaves_nothing), End.REJECTED, _END_DOUBTS
        ),
        ExecType.CANCEL_REJECTED: Rule(_nothing, ()),
        ExecType.TRADE_CANCEL: Rule(_bust, (_names_a_fill_that_stands, _takes_back_all_of_it, _quantities_agree)),
        ExecType.TRADE_CORRECT: Rule(_correction, (_names_a_fill_that_stands, *_FILL_CHECKS)),
    }
)
"""Conditions on each type of report, in this order; the first that does not hold is the reason of the break."""
