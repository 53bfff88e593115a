"""The lifecycle's batch handler: decisions that begin an order, and reports that the judge accepts, in runs.

``stages.handle`` is the rule; ``tests/orders/test_runs.py`` holds the two to each other.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter

from common.contracts.controls import FIRM
from common.contracts.events import Decision, ExecType, ExecutionReport, OrderEvent
from common.contracts.topics import ORDERS_EVENTS, ORDERS_EXECUTIONS, RISK_DECISIONS, VENUE_ORDERS, market_partition
from common.executions import Accept, judge
from streams.model.blocks import Answers
from streams.model.message import Message, View
from streams.model.tables import Tables

from orders.answers import Said, ToAccounts, in_runs
from orders.cancels import DECIDED_KEY
from orders.domain.lifecycle import CLOSED, concerns_no_order, on_decision, on_report
from orders.lifecycle_rows import AccountRow, Decided, EarlyRow, HaltsRow, ProgressRow, retain_closed
from orders.stages import facts, fill, progress_shown_by
from orders.wire import shown, writer_of


class LifecycleRuns:
    """``framed``: events and orders to the venue are written framed."""

    def __init__(self, *, framed: bool) -> None:
        self._framed = framed

    def handle_batch(self, batch: Sequence[Message], tables: Tables, now_ns: int) -> Iterator[Answers | int]:
        """See ``streams.model.declaration.BatchHandler``."""
        for topic, group in groupby(batch, attrgetter("topic")):
            messages = list(group)
            if topic is RISK_DECISIONS:
                yield from in_runs(
                    messages, _Asked(tables).of_decisions, lambda: _Decisions(tables, now_ns, framed=self._framed)
                )
            elif topic is ORDERS_EXECUTIONS:
                yield from in_runs(
                    messages, _Asked(tables).of_reports, lambda: _Reports(tables, now_ns, framed=self._framed)
                )
            else:
                yield len(messages)


class _Asked:
    """Has the tables remember the rows that a run will ask for, of the store all at once."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def of_decisions(self, decisions: Sequence[Decision]) -> None:
        self._tables.changelogged("orders").get_many([each.order_id.encode() for each in decisions])

    def of_reports(self, reports: Sequence[ExecutionReport]) -> None:
        keys = [each.order_id.encode() for each in reports]
        named = zip(keys, reports, strict=True)
        self._tables.changelogged("orders").get_many(keys)
        self._tables.changelogged("progress").get_many(keys)
        self._tables.changelogged("reports").get_many([_report_key(key, each.execution_id) for key, each in named])


def _report_key(order_key: bytes, execution_id: str) -> bytes:
    return b"%s\0%s" % (order_key, execution_id.encode())


class _Decisions:
    """A run of decisions. See ``answers.Run``. An order begins where nothing waits for it, and trading goes on."""

    def __init__(self, tables: Tables, now_ns: int, *, framed: bool) -> None:
        self._tables, self._now_ns = tables, now_ns
        self._orders, self._progress = tables.changelogged("orders"), tables.changelogged("progress")
        known: Decided = tables.changelogged("decided").get(DECIDED_KEY) or Decided()
        self._before = known.before
        self._goes_on = not known.waits and not self._is_halted(FIRM)
        self._quiet: dict[str, bool] = {}
        self._said = Said(framed=framed)
        self._events = ToAccounts(ORDERS_EVENTS, self._said, framed=framed)
        self._write_order = writer_of(VENUE_ORDERS, framed=framed)

    def _is_halted(self, owner: str) -> bool:
        row: HaltsRow | None = self._tables.changelogged("halts").get(owner.encode())
        return row is not None and bool(row.symbols)

    def _is_quiet(self, account_id: str) -> bool:
        """Nothing of the account waits for an order, and none of its symbols is halted: no decision changes that."""
        quiet = self._quiet.get(account_id)
        if quiet is None:
            key = account_id.encode()
            early: EarlyRow | None = self._tables.changelogged("early").get(key)
            row: AccountRow | None = self._tables.changelogged("accounts").get(key)
            waits = (early is not None and early.waiting) or (row is not None and row.pending)
            quiet = self._quiet[account_id] = not waits and not self._is_halted(account_id)
        return quiet

    def take(self, number: int, decision: Decision) -> bool:
        if not self._goes_on or not decision.accepted or concerns_no_order(decision):
            return False
        account_id, order_id = decision.account_id, decision.order_id
        key = order_id.encode()
        if not self._is_quiet(account_id) or self._orders.get(key) is not None:
            return False
        try:
            step = on_decision(None, decision, self._now_ns)
        except ValueError:
            return False
        intent, order, to_venue = decision.intent, step.order, step.to_venue
        assert to_venue is not None, "an accepted order goes to the venue"
        if intent.limit_price_e4 is None:
            self._progress.put(key, ProgressRow(decision.protection_price_e4))
        self._orders.put(key, order)
        self._events.add(number, account_id, order)
        listed = self._said.list_of(VENUE_ORDERS, market_partition(to_venue.instrument_id))
        listed.append((number, to_venue.symbol.encode(), self._write_order(to_venue)))
        self._said.views.append((number, View("order", account_id, order_id, shown(order), intent.sent_ns)))
        self._before = max(self._before, decision.intent_offset + 1)
        return True

    def answers(self, messages: int) -> Answers:
        self._tables.changelogged("decided").put(DECIDED_KEY, Decided(self._before))
        return self._said.answers(messages)


class _Reports:
    """A run of reports. See ``answers.Run``. All that the judge accepts are of it, but for refused cancels."""

    def __init__(self, tables: Tables, now_ns: int, *, framed: bool) -> None:
        self._tables, self._now_ns = tables, now_ns
        self._orders, self._progress = tables.changelogged("orders"), tables.changelogged("progress")
        self._reports = tables.changelogged("reports")
        self._said = Said(framed=framed)
        self._events = ToAccounts(ORDERS_EVENTS, self._said, framed=framed)

    def take(self, number: int, report: ExecutionReport) -> bool:
        key = report.order_id.encode()
        order: OrderEvent | None = self._orders.get(key)
        if order is None or report.exec_type is ExecType.CANCEL_REJECTED:
            return False
        row: ProgressRow = self._progress.get(key) or ProgressRow()
        progress, reports = row.progress or progress_shown_by(order), self._reports
        verdict = judge(
            facts(order, row), progress, lambda execution_id: reports.get(_report_key(key, execution_id)), report
        )
        if not isinstance(verdict, Accept):
            return False
        try:
            after = on_report(order, report, verdict.effect, self._now_ns, row.refused_qty).order
        except ValueError:
            return False
        for execution_id, seen in verdict.executions.items():
            reports.put(_report_key(key, execution_id), seen)
        kept = ProgressRow(row.worst_price_e4, verdict.progress, row.refused_qty)
        if verdict.executions and kept != row:
            self._progress.put(key, kept)
        self._orders.put(key, after)
        self._events.add(number, after.account_id, after)
        self._show(number, View("order", after.account_id, after.order_id, shown(after)))
        if after.state in CLOSED and order.state not in CLOSED:
            self._show(number, *retain_closed(self._tables, after))
        if report.exec_type is ExecType.TRADE:
            self._show(number, *fill(self._tables, report))
        return True

    def _show(self, number: int, *views: View) -> None:
        self._said.views += [(number, view) for view in views]

    def answers(self, messages: int) -> Answers:
        return self._said.answers(messages)
