"""The gate stage: adapts messages and tables of the runtime to the domain.

Intents, commands and execution reports of one account stand in the same partition number, so a task sees all of an
account in order. Whatever it writes goes to that partition too. Each intent and each command gets exactly one answer;
only what moves an amount writes to the ledger.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

from common.checks.check import CheckChain
from common.contracts.events import AccountStatus, CommandResult, Fund, ReasonCode, ResolveBreak, RiskCommand, Withdraw
from common.contracts.topics import (
    AUDIT_COMMANDS,
    ORDERS_EXECUTIONS,
    ORDERS_INTENTS,
    RISK_BASIS,
    RISK_BREAKS,
    RISK_COMMANDS,
    RISK_CONTROL_COMMANDS,
    RISK_CONTROLS,
    RISK_DECISIONS,
    RISK_LEDGER,
    RISK_WARNINGS,
    RISK_WHAT_IFS,
    Topic,
)
from streams.model.blocks import Answers
from streams.model.message import Message, Output, View
from streams.model.tables import Tables, Verify

from risk import metrics
from risk.basis import BasisWriter
from risk.booking import answer, book, keep
from risk.breaks import break_view, break_views, resolve_break
from risk.command_records import with_record
from risk.controls import on_control_command, on_controls
from risk.domain.account import (
    AccountRow,
    CommandBody,
    CommandRow,
    Holdings,
    PositionRow,
    body_of,
    command_conflict,
)
from risk.domain.commands import carry_out
from risk.domain.gate import GATE, Denial, Limits
from risk.domain.gate_kernel import Decider
from risk.domain.intent_kernel import runs_of
from risk.domain.ledger import LedgerError
from risk.equity import keep_flow
from risk.framed import read_either
from risk.framed_answers import FramedAnswers
from risk.intents import on_intent
from risk.market import MarketReader
from risk.reports import on_execution
from risk.runs import answer_run
from risk.tables import SWEEP_EVERY_INTENTS, command_key, position_key, sweep
from risk.what_ifs import on_what_if
from risk.wire import AccountTwin, PositionTwin, decode_intent

INPUTS: Final[tuple[Topic, ...]] = (
    RISK_CONTROLS,  # first, so that whatever stands in a batch behind it is held to it
    RISK_CONTROL_COMMANDS,
    ORDERS_INTENTS,
    RISK_COMMANDS,
    ORDERS_EXECUTIONS,
    RISK_WHAT_IFS,
)
OUTPUTS: Final[tuple[Topic, ...]] = (
    RISK_DECISIONS,
    RISK_CONTROLS,
    RISK_WHAT_IFS,
    RISK_LEDGER,
    RISK_BREAKS,
    RISK_WARNINGS,
    RISK_BASIS,
    AUDIT_COMMANDS,
)


RUN_MIN: Final = 32
"""Fewer intents are answered sooner one by one: a run costs a third of a millisecond before its first answer."""


class KeyMismatch(ValueError):
    """The record's key is not the account that its body names."""


class Gate:
    """The stage's handlers. Raise ValueError (poison) for what is no intent, command or report of the key's account."""

    def __init__(
        self,
        limits: Limits,
        id_retention_ns: int,
        gate: CheckChain = GATE,
        framed: FramedAnswers | None = None,
        basis: BasisWriter | None = None,
    ) -> None:
        """``basis`` says what decisions stand on; without it, nobody does."""
        self._id_retention_ns = id_retention_ns
        self._markets = MarketReader(limits)
        self._gate = gate
        self._decider = Decider(gate)
        self._framed = framed
        self._basis = basis
        for check in gate.checks:
            metrics.DENIALS.labels(check.name, check.reason)  # so that each is there before it has denied anything

    def handle(self, message: Message, tables: Tables, now_ns: int) -> list[Output]:
        """One message."""
        if message.topic is ORDERS_INTENTS:
            intent = decode_intent(message.value)
            _check_key(message, intent.account_id)
            if not message.offset % SWEEP_EVERY_INTENTS:
                sweep(tables, now_ns, self._id_retention_ns)
            return on_intent(message, intent, tables, self._markets, self._gate, now_ns, self._basis)
        body = message.body
        _check_key(message, body.account_id)
        if message.topic is RISK_COMMANDS:
            outputs = on_command(message, body, tables, now_ns)
            if isinstance(body, Fund | Withdraw) and len(outputs) > 1:  # an entry, too: it was done now
                keep_flow(tables, body, self._markets, now_ns)
            return with_record(message, body, outputs, tables)
        if message.topic is RISK_CONTROL_COMMANDS:
            return with_record(message, body, on_control_command(message, body, tables, now_ns), tables)
        if message.topic is RISK_CONTROLS:
            return on_controls(message, body, tables)
        if message.topic is RISK_WHAT_IFS:
            return on_what_if(message, body, tables, self._markets, self._gate, now_ns)
        return list(on_execution(message, body, tables, now_ns))

    def handle_batch(self, batch: Sequence[Message], tables: Tables, now_ns: int) -> Iterator[Answers | int]:
        """Intents in runs, where enough of them stand together; the rest is left to ``handle``."""
        for topic, group in groupby(batch, attrgetter("topic")):
            messages = list(group)
            if topic is ORDERS_INTENTS and len(messages) >= RUN_MIN:
                yield from self._intents(messages, tables, now_ns)
            else:
                yield len(messages)

    def _intents(self, messages: Sequence[Message], tables: Tables, now_ns: int) -> Iterator[Answers | int]:
        intents = read_either([m.value or b"" for m in messages], [m.key or b"" for m in messages])
        for begin, end, plain in runs_of(intents.rows["plain"]):
            if not plain or end - begin < RUN_MIN:
                yield end - begin
                continue
            run = messages[begin:end]
            for message in run:
                if not message.offset % SWEEP_EVERY_INTENTS:
                    sweep(tables, now_ns, self._id_retention_ns)
            columns = intents.part(begin, end)
            said = answer_run(run, columns, tables, self._markets, self._decider, now_ns, self._framed, self._basis)
            yield end - begin if said is None else said


def _check_key(message: Message, account_id: str) -> None:
    if message.key != account_id.encode():
        raise KeyMismatch(f"key {message.key!r} on a record of account {account_id}")


# --- commands -----------------------------------------------------------------------------------------------------


def on_command(message: Message, command: RiskCommand, tables: Tables, now_ns: int) -> list[Output]:
    """Answers a command: done, denied, or as before where its id was answered."""
    account_key = message.key
    assert account_key is not None
    commands = tables.changelogged("commands")
    row_key = command_key(command.account_id, command.command_id)
    account: AccountRow | None = tables.changelogged("accounts").get(account_key)
    body = body_of(command)
    seen: CommandRow | None = commands.get(row_key)
    if seen is not None:
        conflict = command_conflict(seen, body)
        if conflict is None:
            return [_result(message, command, seen, repeat=True)]
        row = _command_row(body, Denial(ReasonCode.DUPLICATE_ID, {}), account, now_ns)
        return [_result(message, command, row, conflict=conflict)]
    if isinstance(command, ResolveBreak):
        return _resolved(message, command, account, tables, now_ns)
    position, instrument = None, None
    if isinstance(command, Fund) and command.symbol is not None:
        position = tables.changelogged("positions").get(position_key(account_key, command.symbol))
        known = tables.globals("instruments").get(command.symbol.encode())
        instrument = None if known is None else known.value
    outcome = carry_out(command, account, position, instrument, now_ns)
    row = _command_row(body, outcome.denial, outcome.account, now_ns)
    commands.put(row_key, row)
    handled = [_result(message, command, row)]
    if outcome.denial is None:
        assert outcome.account is not None
        keep(tables, account_key, outcome.account, body.symbol or "", position, outcome.position)
        if outcome.entry is not None:
            handled.append(book(message, tables, outcome.entry))
    return handled


def _resolved(
    message: Message, command: ResolveBreak, account: AccountRow | None, tables: Tables, now_ns: int
) -> list[Output]:
    outcome = resolve_break(message, command, account, tables, now_ns)
    denial, moved = (outcome, []) if isinstance(outcome, Denial) else (None, outcome)
    after: AccountRow | None = tables.changelogged("accounts").get(command.account_id.encode())
    row = _command_row(body_of(command), denial, after, now_ns)
    tables.changelogged("commands").put(command_key(command.account_id, command.command_id), row)
    return [_result(message, command, row), *moved]


def _command_row(body: CommandBody, denial: Denial | None, account: AccountRow | None, now_ns: int) -> CommandRow:
    return CommandRow(
        body,
        denial.reason if denial else None,
        denial.compared if denial else {},
        account.status if account else None,
        account.seq if account else 0,
        now_ns,
    )


def _result(
    message: Message,
    command: RiskCommand,
    row: CommandRow,
    *,
    conflict: str | None = None,
    repeat: bool = False,
) -> Output:
    """The answer that stands in the row."""
    result = CommandResult(
        account_id=command.account_id,
        command_id=command.command_id,
        accepted=row.reason is None,
        reason=row.reason,
        compared=row.compared,
        conflict=conflict,
        repeat=repeat,
        status=row.status,
        resting=row.body.resting if row.body.status is AccountStatus.SUSPENDED and row.reason is None else None,
        account_seq=row.account_seq,
        decided_ns=row.touched_ns,
        command_partition=message.partition,
        command_offset=message.offset,
    )
    return answer(message, result)


# --- views and invariants ----------------------------------------------------------------------------------------


def account_view(account_key: bytes) -> View:
    """The account as it stands when it is shown."""
    return View("account", account_key.decode(), "account", account_data)


def account_data(tables: Tables, view: View) -> AccountTwin:
    """Content of an account's view."""
    account_id = view.scope
    account_key = account_id.encode()
    account: AccountRow | None = tables.changelogged("accounts").get(account_key)
    assert account is not None, "no account is ever removed"
    held: Holdings | None = tables.changelogged("holdings").get(account_key)
    positions: list[PositionTwin] = []
    if held is not None:
        rows = tables.changelogged("positions")
        for symbol in held.symbols:
            row: PositionRow | None = rows.get(position_key(account_key, symbol))
            assert row is not None, "holdings and positions change together"
            positions.append(PositionTwin(symbol, row.qty, row.reserved_qty))
    cash_e4, reserved_cash_e4 = account.cash_e4, account.reserved_cash_e4
    return AccountTwin(account_id, account.status, cash_e4, reserved_cash_e4, positions, account.seq)


def account_views(tables: Tables) -> Iterable[View]:
    """Every account of the partition."""
    for account_key, _ in tables.changelogged("accounts").prefix(b""):
        yield account_view(account_key)


def views(tables: Tables) -> Iterable[View]:
    """Every row that the partition shows."""
    yield from account_views(tables)
    yield from break_views(tables)


SHOWS: Final = {"accounts": account_view, "breaks": break_view}
"""Every movement changes the account's row, and a break's row is written when it is opened and when it is resolved."""


def verify_account(account_key: bytes, account: AccountRow) -> None:
    """Raises LedgerError where a restored account could not have come from the ledger."""
    if not 0 <= account.reserved_cash_e4 <= account.cash_e4 or account.seq < 0 or account.pending_cash_e4 < 0:
        raise LedgerError(f"account {account_key.decode()} was restored as {account}")


def verify_position(key: bytes, position: PositionRow) -> None:
    """Raises LedgerError where a restored position could not have come from the ledger."""
    if not 0 <= position.reserved_qty <= position.qty or not position.qty:
        raise LedgerError(f"position {key.decode()} was restored as {position}")


VERIFY: Final[Verify] = {"accounts": verify_account, "positions": verify_position}
"""Each row for itself, while it is restored. See ``streams.model.tables.Verify``."""
