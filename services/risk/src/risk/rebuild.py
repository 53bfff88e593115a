"""Makes a partition's rows anew from what the gate has said, for a changelog that lost them.

What the gate decided is not decided again: marks and clocks are others now. Its answers are taken as they stand, its
entries tell when each request and each report was handled, and the handlers book them once more on empty tables. Every
entry that comes out must be the ledger's own, byte by byte and link by link of the hash chain, and every break that of
``risk.breaks``. So the rows are those that the gate had, or there are none. Pure but for the tables it fills.

In which order things were handled: answers stand in the order of their requests, reports in that of their topic, and
between the two the order of the ledger and of the breaks decides. What led to neither is handled as late as it can be.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from common.contracts.breaks import BreakReason, BreakResolution, ExecutionBreak
from common.contracts.events import (
    CommandResult,
    Decision,
    ExecutionReport,
    LedgerEntry,
    ReasonCode,
    ResolveBreak,
)
from common.contracts.topics import (
    ORDERS_EXECUTIONS,
    ORDERS_INTENTS,
    RISK_BREAKS,
    RISK_COMMANDS,
    RISK_DECISIONS,
    RISK_LEDGER,
)
from streams.model.message import Message, Output
from streams.model.tables import Tables

from risk.booking import book, keep
from risk.domain.account import AccountRow, CommandRow, Mark, OrderRow, PositionRow, body_of
from risk.domain.ledger import LedgerError, reserve
from risk.reports import on_execution
from risk.stages import on_command
from risk.tables import command_key, order_key, position_key

NS_PER_MS: Final = 1_000_000


class CannotRebuildError(ValueError):
    """The logs do not lead to the ledger; nothing may be made from them."""


@dataclass(frozen=True, slots=True)
class History:
    """Records of a partition of the gate's topics, committed ones only, each topic from its first record on."""

    answers: Sequence[Message]
    entries: Sequence[Message]
    breaks: Sequence[Message]
    commands: Sequence[Message]
    reports: Sequence[Message]
    set_aside: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Input → offsets of its records that are dead letters."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """``positions``: input → the next offset to be read; absent where nothing of it was handled."""

    positions: Mapping[str, int]
    orders: int
    entries: int


def rebuild(history: History, tables: Tables) -> Rebuilt:
    """Fills empty tables. Raises CannotRebuildError where the same rows cannot be made again."""
    replay = _Replay(history, tables)
    try:
        return replay.run()
    except (LedgerError, AssertionError, KeyError, ValueError) as error:
        if isinstance(error, CannotRebuildError):
            raise
        raise CannotRebuildError(f"{replay.where}: {error!r}") from error


class _Replay:
    def __init__(self, history: History, tables: Tables) -> None:
        self.where = "before the first entry"
        self._history = history
        self._tables = tables
        self._commands = {message.offset: message for message in history.commands}
        self._answers = [(message, message.body) for message in history.answers]
        self._breaks = [message.body for message in history.breaks]
        self._opened = {body.break_id: body for body in self._breaks if isinstance(body, ExecutionBreak)}
        self._said_at: dict[str, int] = {}
        """Break that was opened, or command that resolved one → number of the record of ``risk.breaks``."""
        for number, said in enumerate(self._breaks):
            name = said.break_id if isinstance(said, ExecutionBreak) else _command_of(said)
            self._said_at.setdefault(name, number)
        self._decided_at: dict[str, int] = {}
        self._done_at: dict[str, int] = {}
        """Order, or command that was accepted → number of its answer."""
        self._given: dict[str, list[tuple[int, int]]] = {}
        """Account → its sequence at each of its answers, and the number of the answer."""
        for number, (_, body) in enumerate(self._answers):
            if not body.repeat:
                self._given.setdefault(body.account_id, []).append((body.account_seq, number))
            if isinstance(body, CommandResult):
                if body.accepted and not body.repeat:
                    self._done_at.setdefault(_command_of(body), number)
            elif not body.repeat and body.reason is not ReasonCode.DUPLICATE_ID:
                self._decided_at.setdefault(body.order_id, number)
        # How much of each is done.
        self._answer = self._entry = self._break = self._report = 0
        self._positions: dict[str, int] = {}

    def run(self) -> Rebuilt:
        entries = self._history.entries
        while self._entry < len(entries):
            message, number = entries[self._entry], self._entry
            entry: LedgerEntry = message.body
            self.where = f"{RISK_LEDGER.name} {message.partition}/{message.offset}"
            if entry.execution_id is None or entry.command_id is not None:
                self._answers_until(number)
            else:
                self._reports_until(number, entry)
        self.where = "behind the last entry"
        self._answers_through(len(self._answers) - 1)
        last = max((_place_of(break_id) for break_id in self._opened), default=-1)
        self._reports_through(last)
        if self._break < len(self._breaks):
            raise CannotRebuildError(f"{RISK_BREAKS.name} has a record that nothing here leads to")
        for topic, offsets in self._history.set_aside.items():
            self._pass(topic, max(offsets, default=-1))
        return Rebuilt(self._positions, len(self._decided_at), len(entries))

    # --- requests ----------------------------------------------------------------------------------------------------

    def _answers_until(self, number: int) -> None:
        """Handles requests until one has led to the entry of this number."""
        while self._entry == number:
            if self._answer == len(self._answers):
                raise CannotRebuildError(f"{self.where}: no answer on {RISK_DECISIONS.name} leads to it")
            self._answer_next()

    def _answers_through(self, last: int) -> None:
        while self._answer <= last:
            self._answer_next()

    def _answer_next(self) -> None:
        message, body = self._answers[self._answer]
        self._answer += 1
        if isinstance(body, Decision):
            self._pass(ORDERS_INTENTS.name, body.intent_offset)
            if not body.repeat and body.reason is not ReasonCode.DUPLICATE_ID:
                self._decide(message, body)
        else:
            self._pass(RISK_COMMANDS.name, body.command_offset)
            if not body.repeat and body.conflict is None:
                self._command(message, body)

    def _decide(self, message: Message, said: Decision) -> None:
        """As the readable gate does it (``intents.on_intent``), but for the verdict, which stands."""
        tables, intent, account_key = self._tables, said.intent, said.account_id.encode()
        mark = None if said.mark is None else Mark(**said.mark.model_dump())
        row = OrderRow(
            intent.symbol,
            intent.side,
            intent.order_type,
            intent.time_in_force,
            intent.qty,
            intent.limit_price_e4,
            said.reason,
            said.compared,
            said.instrument_id,
            said.protection_price_e4 or 0,
            mark,
            said.account_seq,
            said.decided_ns,
            intent.qty if said.accepted else 0,
            0,
            said.decided_ns,
            said.accepted,
            intent.min_qty,
            intent.expire_ns,
        )
        tables.changelogged("orders").put(order_key(said.order_id), row)
        if not said.accepted:
            return
        account: AccountRow | None = tables.changelogged("accounts").get(account_key)
        if account is None:
            raise CannotRebuildError(f"{said.order_id} was accepted, and its account was never opened")
        position: PositionRow | None = tables.changelogged("positions").get(position_key(account_key, intent.symbol))
        booked = reserve(
            said.account_id,
            account,
            position,
            said.order_id,
            intent.symbol,
            said.reserved_cash_e4,
            said.reserved_qty,
            row.price_e4,
            said.decided_ns,
        )
        if booked.account.seq != said.account_seq:
            raise CannotRebuildError(f"{said.order_id} was entry {said.account_seq}, and is {booked.account.seq}")
        keep(tables, account_key, booked.account, intent.symbol, position, booked.position)
        self._compare([book(message, tables, booked.entry)])

    def _command(self, message: Message, said: CommandResult) -> None:
        asked = self._commands.get(said.command_offset)
        if asked is None:
            raise CannotRebuildError(f"command {said.command_id} is no more on {RISK_COMMANDS.name}")
        command, rows = asked.body, self._tables.changelogged("commands")
        key = command_key(said.account_id, said.command_id)
        if not said.accepted:
            numbers = (said.status, said.account_seq, said.decided_ns)
            rows.put(key, CommandRow(body_of(command), said.reason, said.compared, *numbers))
            return
        if isinstance(command, ResolveBreak):
            self._breaks_before(_command_of(said))
        rows.delete(key)  # the id was forgotten before it was used again, or the gate would have said so
        outputs = on_command(asked, command, self._tables, said.decided_ns)
        result = outputs[0].body
        if result != said.model_copy(update={"decided_ns": result.decided_ns}):
            raise CannotRebuildError(f"command {said.command_id} was answered {said}, and would be {result}")
        self._compare(outputs[1:])

    # --- reports ----------------------------------------------------------------------------------------------------

    def _reports_until(self, number: int, entry: LedgerEntry) -> None:
        """Handles reports until one has led to the entry of this number, after what was answered before it."""
        given = self._given.get(entry.account_id, [])
        before = bisect_left(given, (entry.seq, 0))
        if before:
            self._answers_through(given[before - 1][1])
        while self._entry == number:
            if self._report == len(self._history.reports):
                raise CannotRebuildError(f"{self.where}: no report on {ORDERS_EXECUTIONS.name} leads to it")
            self._report_next(entry)

    def _reports_through(self, offset: int) -> None:
        reports = self._history.reports
        while self._report < len(reports) and reports[self._report].offset <= offset:
            self._report_next(None)

    def _report_next(self, entry: LedgerEntry | None) -> None:
        message = self._history.reports[self._report]
        self._report += 1
        self._pass(ORDERS_EXECUTIONS.name, message.offset)
        if message.offset in self._history.set_aside.get(ORDERS_EXECUTIONS.name, ()):
            return
        report: ExecutionReport = message.body
        opened = self._opened.get(f"{message.partition}-{message.offset}")
        if opened is None or opened.reason is not BreakReason.ORDER_UNKNOWN:
            self._answers_through(self._decided_at.get(report.order_id, -1))
        if opened is not None:
            self._breaks_before(opened.break_id)
        now_ns = message.timestamp_ms * NS_PER_MS
        if opened is not None:
            now_ns = opened.opened_ns
        elif entry is not None and entry.execution_id == report.execution_id:
            now_ns = entry.booked_ns
        self._compare(list(on_execution(message, report, self._tables, now_ns)))

    def _breaks_before(self, name: str) -> None:
        """Handles what led to the records of ``risk.breaks`` before the one that a break, or a command, led to."""
        for said in self._breaks[self._break : self._said_at.get(name, 0)]:
            if isinstance(said, ExecutionBreak):
                self._reports_through(_place_of(said.break_id))
            else:
                self._answers_through(self._done_at.get(_command_of(said), -1))

    # --- what comes out ---------------------------------------------------------------------------------------------

    def _compare(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            if output.topic is RISK_LEDGER:
                self._compare_entry(output)
            elif output.topic is RISK_BREAKS:
                self._compare_break(output)

    def _compare_entry(self, output: Output) -> None:
        entries, value = self._history.entries, output.topic.schema.encode(output.body)
        if self._entry == len(entries):
            raise CannotRebuildError(f"the ledger ends before what would be booked: {value!r}")
        there = entries[self._entry]
        if there.value != value:
            place = f"{RISK_LEDGER.name} {there.partition}/{there.offset}"
            raise CannotRebuildError(f"{place} has {there.value!r}, and {value!r} would be booked")
        self._entry += 1

    def _compare_break(self, output: Output) -> None:
        if self._break == len(self._breaks):
            raise CannotRebuildError(f"{RISK_BREAKS.name} ends before what would be said: {output.body}")
        there, body = self._breaks[self._break], output.body
        if isinstance(body, BreakResolution) and isinstance(there, BreakResolution):
            there = there.model_copy(update={"resolved_ns": body.resolved_ns})
        if there != body:
            raise CannotRebuildError(f"{RISK_BREAKS.name} has {there}, and {body} would be said")
        self._break += 1

    def _pass(self, topic: str, offset: int) -> None:
        self._positions[topic] = max(self._positions.get(topic, 0), offset + 1)


def _command_of(said: CommandResult | BreakResolution) -> str:
    return f"{said.account_id}.{said.command_id}"


def _place_of(break_id: str) -> int:
    """Offset of the report that a break is about."""
    return int(break_id.partition("-")[2])
