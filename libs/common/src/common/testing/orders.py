"""Builders of reference data, marks and messages of the orders domain, for tests. Every default is valid."""

from typing import Any

import numpy as np

from common.contracts.events import (
    AccountStatus,
    ExecType,
    ExecutionReport,
    Fund,
    OrderIntent,
    SetAccount,
    Withdraw,
)
from common.contracts.market import MARK, Marks
from common.contracts.reference import Instrument
from common.contracts.values import E4, OrderType, Side

NOW_NS = 1_700_000_000_000_000_000
SYMBOL = "ACME"
ACCOUNT = "acct-1"


def instrument(symbol: str = SYMBOL, instrument_id: int = 0, **fields: Any) -> Instrument:
    return Instrument(instrument_id=instrument_id, symbol=symbol, **fields)


def mark_row(
    symbol: str = SYMBOL,
    *,
    bid_e4: int = 99 * E4,
    ask_e4: int = 101 * E4,
    last_e4: int = 100 * E4,
    state: str = "T",
    ingest_ns: int = NOW_NS,
) -> Marks:
    """One row of ``md.marks``; an empty ``state`` is one that was never said."""
    row = np.zeros(1, MARK)
    row["symbol"] = symbol.encode()
    row["trading_state"] = ord(state) if state else 0
    row["event_ns"] = row["ingest_ns"] = ingest_ns
    row["bid_e4"], row["ask_e4"], row["last_e4"] = bid_e4, ask_e4, last_e4
    row["bid_size"] = row["ask_size"] = 1_000
    return row


def clock_row(ingest_ns: int = NOW_NS) -> Marks:
    """The clock of a partition of ``md.marks``."""
    row = np.zeros(1, MARK)
    row["instrument_id"] = -1
    row["event_ns"] = row["ingest_ns"] = ingest_ns
    return row


def set_account(account_id: str = ACCOUNT, *, active: bool = True, command_id: str = "open") -> SetAccount:
    status = AccountStatus.ACTIVE if active else AccountStatus.SUSPENDED
    return SetAccount(command_id=command_id, account_id=account_id, status=status, sent_ns=NOW_NS)


def fund(
    account_id: str = ACCOUNT, *, command_id: str, cash_e4: int = 0, symbol: str | None = None, qty: int = 0
) -> Fund:
    return Fund(command_id=command_id, account_id=account_id, cash_e4=cash_e4, symbol=symbol, qty=qty, sent_ns=NOW_NS)


def withdraw(account_id: str = ACCOUNT, *, command_id: str, cash_e4: int) -> Withdraw:
    return Withdraw(command_id=command_id, account_id=account_id, cash_e4=cash_e4, sent_ns=NOW_NS)


def intent(client_order_id: str = "o1", account_id: str = ACCOUNT, **fields: Any) -> OrderIntent:
    """A limit order to buy 10 at 100.00, unless told otherwise. MARKET orders get no price."""
    defaults: dict[str, Any] = {
        "symbol": SYMBOL,
        "side": Side.BUY,
        "order_type": OrderType.LIMIT,
        "qty": 10,
        "sent_ns": NOW_NS,
    }
    if fields.get("order_type", OrderType.LIMIT) is OrderType.LIMIT:
        defaults["limit_price_e4"] = 100 * E4
    return OrderIntent(account_id=account_id, client_order_id=client_order_id, **{**defaults, **fields})


def report(of: OrderIntent, exec_type: ExecType, execution_id: str, **fields: Any) -> ExecutionReport:
    """Report of the venue about an intent's order."""
    return ExecutionReport(
        execution_id=execution_id,
        exec_type=exec_type,
        order_id=f"{of.account_id}.{of.client_order_id}",
        account_id=of.account_id,
        symbol=fields.pop("symbol", of.symbol),
        side=fields.pop("side", of.side),
        venue_ns=NOW_NS,
        **fields,
    )


def trade(
    of: OrderIntent, execution_id: str, qty: int, price_e4: int, *, cum_qty: int, **fields: Any
) -> ExecutionReport:
    """A fill; what it leaves open is the rest of the order unless said otherwise."""
    return report(
        of,
        fields.pop("exec_type", ExecType.TRADE),
        execution_id,
        last_qty=qty,
        last_price_e4=price_e4,
        cum_qty=cum_qty,
        leaves_qty=fields.pop("leaves_qty", max(of.qty - cum_qty, 0)),
        **fields,
    )
