"""The gate stage: adapts messages and tables of the runtime to the domain.

Intents, commands and execution reports of one account stand in the same partition number, so a task sees all of an
account in order. Whatever it writes goes to that partition too. Each intent and each command gets exactly one answer;
only what moves an amount writes to the ledger.
"""

from collections.abc import Callable, Iterable
from typing import Final

from common.contracts.events import (
    CommandResult,
    ExecType,
    ExecutionReport,
    Fund,
    ReasonCode,
    RiskCommand,
)
from common.contracts.topics import (
    ORDERS_EXECUTIONS,
    ORDERS_INTENTS,
    RISK_COMMANDS,
    RISK_DECISIONS,
    RISK_LEDGER,
    Topic,
)
from common.contracts.values import Side
from common.runtime.message import Handled, Message, Output, View
from common.runtime.tables import Tables, Verify

from risk.domain.account import (
    AccountRow,
    CommandBody,
    CommandRow,
    ExecutionRow,
    Holdings,
    OrderRow,
    PositionRow,
    body_of,
    command_conflict,
    intent_conflict,
)
from risk.domain.chain import ChainRow, genesis, link
from risk.domain.commands import carry_out
from risk.domain.gate import AccountState, Denial, Limits, Market, Verdict, decide
from risk.domain.intent import Intent
from risk.domain.ledger import Entry, LedgerError, ReportMismatch, UnknownOrder, reserve, settle
from risk.market import MarketReader
from risk.tables import (
    CHAIN_KEY,
    SWEEP_EVERY_INTENTS,
    command_key,
    execution_key,
    order_key,
    position_key,
    put_position,
    sweep,
)
from risk.wire import AccountTwin, DecisionTwin, PositionTwin, decode_intent, encode_decision, encode_entry, encode_mark

INPUTS: Final[tuple[Topic, ...]] = (ORDERS_INTENTS, RISK_COMMANDS, ORDERS_EXECUTIONS)
OUTPUTS: Final[tuple[Topic, ...]] = (RISK_DECISIONS, RISK_LEDGER)
_BUY: Final = Side.BUY
_WITHOUT_MONEY: Final = (ExecType.NEW, ExecType.CANCEL_REJECTED)


class KeyMismatch(ValueError):
    """The record's key is not the account that its body names."""


Handler = Callable[[Message, Tables, int], Handled]


def gate_handler(limits: Limits, id_retention_ns: int) -> Handler:
    """The stage's handler. Raises ValueError (poison) for what is no intent, command or report of the key's account."""

    markets = MarketReader()

    def handle(message: Message, tables: Tables, now_ns: int) -> list[Output]:
        if message.topic is ORDERS_INTENTS:
            intent = decode_intent(message.value)
            _check_key(message, intent.account_id)
            if not message.offset % SWEEP_EVERY_INTENTS:
                sweep(tables, now_ns, id_retention_ns)
            return on_intent(message, intent, tables, markets, limits, now_ns)
        body = message.body
        _check_key(message, body.account_id)
        if message.topic is RISK_COMMANDS:
            return on_command(message, body, tables, now_ns)
        return on_execution(message, body, tables, now_ns)

    return handle


def _check_key(message: Message, account_id: str) -> None:
    if message.key != account_id.encode():
        raise KeyMismatch(f"key {message.key!r} on a record of account {account_id}")


# --- intents ------------------------------------------------------------------------------------------------------


def on_intent(
    message: Message, intent: Intent, tables: Tables, markets: MarketReader, limits: Limits, now_ns: int
) -> list[Output]:
    """Answers an intent: anew, or as before where its id was answered."""
    account_key = message.key
    assert account_key is not None
    account_id = intent.account_id
    order_id = f"{account_id}.{intent.client_order_id}"
    row_key = order_key(order_id)
    orders = tables.changelogged("orders")
    account: AccountRow | None = tables.changelogged("accounts").get(account_key)
    seen: OrderRow | None = orders.get(row_key)
    if seen is not None:
        conflict = intent_conflict(seen, intent)
        if conflict is None:
            return [_decision(message, intent, order_id, seen, repeat=True)]
        return [_conflict(message, intent, order_id, conflict, account.seq if account else 0, now_ns)]
    market = markets.read(tables, intent.symbol)
    position: PositionRow | None = None
    if intent.side is not _BUY:
        position = tables.changelogged("positions").get(position_key(account_key, intent.symbol))
    verdict = decide(intent, AccountState(account, position), market, limits, now_ns)
    if verdict.denial is not None:
        row = _order_row(intent, verdict, market, account.seq if account else 0, now_ns)
        orders.put(row_key, row)
        return [_decision(message, intent, order_id, row)]
    assert account is not None
    booked = reserve(
        account_id,
        account,
        position,
        order_id,
        intent.symbol,
        verdict.reserved_cash_e4,
        verdict.reserved_qty,
        now_ns,
    )
    row = _order_row(intent, verdict, market, booked.account.seq, now_ns)
    orders.put(row_key, row)
    _keep(tables, account_key, booked.account, intent.symbol, position, booked.position)
    return [_decision(message, intent, order_id, row), _entry(message, tables, booked.entry)]


def _order_row(intent: Intent, verdict: Verdict, market: Market, account_seq: int, now_ns: int) -> OrderRow:
    denial = verdict.denial
    return OrderRow(
        intent.symbol,
        intent.side,
        intent.order_type,
        intent.time_in_force,
        intent.qty,
        intent.limit_price_e4,
        None if denial is None else denial.reason,
        {} if denial is None else denial.compared,
        None if market.instrument is None else market.instrument.instrument_id,
        verdict.price_e4,
        market.mark,
        account_seq,
        now_ns,
        intent.qty if denial is None else 0,
        0,
        now_ns,
    )


def _decision(message: Message, intent: Intent, order_id: str, row: OrderRow, repeat: bool = False) -> Output:
    """The answer that stands in the row. A repeat differs in ``repeat`` and in which record it answers."""
    accepted = row.reason is None
    buy = row.side is _BUY
    decision = DecisionTwin(
        account_id=intent.account_id,
        client_order_id=intent.client_order_id,
        order_id=order_id,
        accepted=accepted,
        reason=row.reason,
        compared=row.compared,
        repeat=repeat,
        intent=intent,
        instrument_id=row.instrument_id,
        reserved_cash_e4=row.price_e4 * row.qty if accepted and buy else 0,
        reserved_qty=row.qty if accepted and not buy else 0,
        protection_price_e4=row.price_e4 if accepted else None,
        mark=encode_mark(row.mark),
        account_seq=row.account_seq,
        decided_ns=row.decided_ns,
        intent_partition=message.partition,
        intent_offset=message.offset,
    )
    return _answer(message, encode_decision(decision))


def _conflict(message: Message, intent: Intent, order_id: str, conflict: str, account_seq: int, now_ns: int) -> Output:
    """DUPLICATE_ID: the order that has the id stays as it is."""
    decision = DecisionTwin(
        account_id=intent.account_id,
        client_order_id=intent.client_order_id,
        order_id=order_id,
        accepted=False,
        reason=ReasonCode.DUPLICATE_ID,
        compared={},
        conflict=conflict,
        repeat=False,
        intent=intent,
        reserved_cash_e4=0,
        reserved_qty=0,
        account_seq=account_seq,
        decided_ns=now_ns,
        intent_partition=message.partition,
        intent_offset=message.offset,
    )
    return _answer(message, encode_decision(decision))


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
        _keep(tables, account_key, outcome.account, body.symbol or "", position, outcome.position)
        if outcome.entry is not None:
            handled.append(_entry(message, tables, outcome.entry))
    return handled


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
        account_seq=row.account_seq,
        decided_ns=row.touched_ns,
        command_partition=message.partition,
        command_offset=message.offset,
    )
    return _answer(message, result)


# --- executions ---------------------------------------------------------------------------------------------------


def on_execution(message: Message, report: ExecutionReport, tables: Tables, now_ns: int) -> list[Output]:
    """Books what the venue says. A report that was booked before is ignored.

    Raises ExecutionRefused where the report contradicts the books.
    """
    if report.exec_type in _WITHOUT_MONEY:
        return []
    account_key = message.key
    assert account_key is not None
    if not report.order_id.startswith(f"{report.account_id}."):
        raise ReportMismatch(f"{report.order_id} is not an order of account {report.account_id}")
    orders, executions = tables.changelogged("orders"), tables.changelogged("executions")
    row_key = order_key(report.order_id)
    order: OrderRow | None = orders.get(row_key)
    if order is None or order.reason is not None:
        raise UnknownOrder(f"{report.order_id} was never accepted")
    booked_key = execution_key(row_key, report.execution_id)
    if executions.get(booked_key) is not None:
        return []
    account: AccountRow | None = tables.changelogged("accounts").get(account_key)
    assert account is not None, "an accepted order has an account"
    position: PositionRow | None = tables.changelogged("positions").get(position_key(account_key, order.symbol))
    settled = settle(account, position, order, report, now_ns)
    orders.put(row_key, settled.order)
    executions.put(booked_key, ExecutionRow(settled.account.seq, now_ns))
    _keep(tables, account_key, settled.account, order.symbol, position, settled.position)
    return [_entry(message, tables, entry) for entry in settled.entries]


# --- what they share ----------------------------------------------------------------------------------------------


def _answer(message: Message, body: CommandResult | bytes) -> Output:
    assert message.key is not None
    return Output(RISK_DECISIONS, message.key, body, message.partition)


def _entry(message: Message, tables: Tables, entry: Entry) -> Output:
    """The entry as the next link of the partition's chain."""
    assert message.key is not None
    chain = tables.changelogged("chain")
    last: ChainRow | None = chain.get(CHAIN_KEY)
    value, head = link(last or genesis(message.partition), encode_entry(entry))
    chain.put(CHAIN_KEY, head)
    return Output(RISK_LEDGER, message.key, value, message.partition)


def _keep(
    tables: Tables,
    account_key: bytes,
    account: AccountRow,
    symbol: str,
    before: PositionRow | None,
    after: PositionRow | None,
) -> None:
    """Writes the account and, where a movement touched it, its position in ``symbol``."""
    tables.changelogged("accounts").put(account_key, account)
    if after is not None and after != before:
        put_position(tables, account_key, symbol, before, after)


def account_view(account_key: bytes) -> View:
    """The account as it stands when it is shown."""
    return View("account", account_key.decode(), "account", account_data)


def account_data(tables: Tables, view: View) -> AccountTwin:
    """What an account's view shows."""
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


SHOWS: Final = {"accounts": account_view}
"""Every movement changes the account's row."""


def verify_account(account_key: bytes, account: AccountRow) -> None:
    """Raises LedgerError where a restored account could not have come from the ledger."""
    if not 0 <= account.reserved_cash_e4 <= account.cash_e4 or account.seq < 0:
        raise LedgerError(f"account {account_key.decode()} was restored as {account}")


def verify_position(key: bytes, position: PositionRow) -> None:
    """Raises LedgerError where a restored position could not have come from the ledger."""
    if not 0 <= position.reserved_qty <= position.qty or not position.qty:
        raise LedgerError(f"position {key.decode()} was restored as {position}")


VERIFY: Final[Verify] = {"accounts": verify_account, "positions": verify_position}
"""Each row for itself, while it is restored. See ``runtime.tables.Verify``."""
