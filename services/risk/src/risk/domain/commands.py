"""Commands on accounts: open, suspend, fund, withdraw. Denied whole or done whole."""

import msgspec
from common.contracts.controls import FIRM
from common.contracts.events import AccountStatus, Fund, ReasonCode, SetAccount, Withdraw
from common.contracts.reference import Instrument
from common.contracts.values import INT64_MAX

from risk.domain import ledger
from risk.domain.account import NO_POSITION, AccountRow, PositionRow
from risk.domain.gate import Denial
from risk.domain.ledger import Entry


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """Rows after the command; the rows before it, without an entry, where it was denied."""

    denial: Denial | None
    account: AccountRow | None
    position: PositionRow | None = None
    entry: Entry | None = None


def carry_out(
    command: SetAccount | Fund | Withdraw,
    account: AccountRow | None,
    position: PositionRow | None,
    instrument: Instrument | None,
    now_ns: int,
) -> Outcome:
    """Decides a command and does it. ``position`` and ``instrument`` are those of a Fund's symbol."""
    if command.account_id == FIRM:
        return Outcome(Denial(ReasonCode.COMMAND_INVALID, {}), None)
    if isinstance(command, SetAccount):
        if account is None:
            return Outcome(None, AccountRow(command.status or AccountStatus.ACTIVE))
        return Outcome(None, msgspec.structs.replace(account, status=command.status or account.status))
    if account is None:
        return Outcome(Denial(ReasonCode.ACCOUNT_UNKNOWN, {}), None)
    if isinstance(command, Fund):
        denial = _fund_denial(command, account, position, instrument)
    else:
        denial = _withdraw_denial(command, account)
    if denial is not None:
        return Outcome(denial, account)
    booked = (
        ledger.fund(account, position, command, now_ns)
        if isinstance(command, Fund)
        else ledger.withdraw(account, command, now_ns)
    )
    return Outcome(None, booked.account, booked.position, booked.entry)


def _fund_denial(
    command: Fund, account: AccountRow, position: PositionRow | None, instrument: Instrument | None
) -> Denial | None:
    """A suspended account may be funded: it only gains. Shares must be of a known instrument."""
    brings_shares = command.symbol is not None
    if command.cash_e4 < 0 or command.qty < 0 or (command.qty > 0) is not brings_shares:
        return Denial(ReasonCode.COMMAND_INVALID, {"cash_e4": command.cash_e4, "qty": command.qty})
    if not command.cash_e4 and not command.qty:
        return Denial(ReasonCode.COMMAND_INVALID, {"cash_e4": 0, "qty": 0})
    if brings_shares and instrument is None:
        return Denial(ReasonCode.INSTRUMENT_UNKNOWN, {})
    if command.cash_e4 > INT64_MAX - account.cash_e4:
        return Denial(
            ReasonCode.COMMAND_INVALID,
            {"cash_e4": command.cash_e4, "held_cash_e4": account.cash_e4, "cash_max_e4": INT64_MAX},
        )
    held_qty = (position or NO_POSITION).qty
    if command.qty > INT64_MAX - held_qty:
        return Denial(ReasonCode.COMMAND_INVALID, {"qty": command.qty, "held_qty": held_qty, "qty_max": INT64_MAX})
    return _headroom_denial(command, account, held_qty)


def _headroom_denial(command: Fund, account: AccountRow, held_qty: int) -> Denial | None:
    """Denies a sum that the proceeds of open orders would not fit beside (``gate.headroom_sufficient``)."""
    if command.cash_e4 > INT64_MAX - account.cash_e4 - account.pending_cash_e4:
        compared = {
            "cash_e4": command.cash_e4,
            "held_cash_e4": account.cash_e4,
            "pending_cash_e4": account.pending_cash_e4,
            "cash_max_e4": INT64_MAX,
        }
        return Denial(ReasonCode.HEADROOM_INSUFFICIENT, compared)
    if command.qty > INT64_MAX - held_qty - account.reserved_cash_e4:
        compared = {
            "qty": command.qty,
            "held_qty": held_qty,
            "reserved_cash_e4": account.reserved_cash_e4,
            "qty_max": INT64_MAX,
        }
        return Denial(ReasonCode.HEADROOM_INSUFFICIENT, compared)
    return None


def _withdraw_denial(command: Withdraw, account: AccountRow) -> Denial | None:
    if account.status is not AccountStatus.ACTIVE:
        return Denial(ReasonCode.ACCOUNT_INACTIVE, {})
    if command.cash_e4 <= 0:
        return Denial(ReasonCode.COMMAND_INVALID, {"cash_e4": command.cash_e4})
    shortfall_e4 = command.cash_e4 - account.available_cash_e4
    if shortfall_e4 > 0:
        return Denial(
            ReasonCode.CASH_INSUFFICIENT,
            {
                "required_cash_e4": command.cash_e4,
                "available_cash_e4": account.available_cash_e4,
                "shortfall_cash_e4": shortfall_e4,
            },
        )
    return None
