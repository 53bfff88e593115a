"""Reads what accounts are worth, and keeps what they are measured from, where a limit asks: see ``domain.equity``."""

from typing import Final, NamedTuple

from common.contracts.events import Fund, Withdraw
from streams.model.tables import Tables

from risk.domain.account import AccountRow, Holdings, PositionRow
from risk.domain.equity import UNKNOWN_E4, EquityRow, Losses, carried, equity_e4, losses, with_flow
from risk.market import MarketReader
from risk.tables import position_key

TABLE: Final = "equity"


class Measured(NamedTuple):
    """Losses of an account, and what later ones are measured from, where that is another row than before."""

    losses: Losses
    row: EquityRow | None = None
    is_asked: bool = True
    """Whether a limit asks for the losses."""


NOT_ASKED: Final = Measured(Losses(), is_asked=False)


def measure(
    tables: Tables, account_key: bytes, account: AccountRow | None, markets: MarketReader, now_ns: int
) -> Measured:
    """Measures the account's losses before an order of it is decided; writes nothing."""
    if account is None:
        return Measured(Losses())
    held: Holdings | None = tables.changelogged("holdings").get(account_key)
    symbols = () if held is None else held.symbols
    rows = tables.changelogged("positions")
    positions: list[tuple[PositionRow | None, str]] = [
        (rows.get(position_key(account_key, symbol)), symbol) for symbol in symbols
    ]
    worth_e4 = equity_e4(
        account.cash_e4, [(row.qty, bid_e4(tables, markets, symbol, now_ns)) for row, symbol in positions if row]
    )
    before: EquityRow | None = tables.changelogged(TABLE).get(account_key)
    after = carried(before, worth_e4, now_ns)
    return Measured(losses(after, worth_e4), None if after == before else after)


def keep_measure(tables: Tables, account_key: bytes, measured: Measured) -> None:
    """Writes what later losses are measured from."""
    if measured.row is not None:
        tables.changelogged(TABLE).put(account_key, measured.row)


def bid_e4(tables: Tables, markets: MarketReader, symbol: str, now_ns: int) -> int:
    """Price that a share would bring now; 0 where nobody bids, or the mark is as old as no order may be decided on."""
    limits = markets.limits.settings.of(symbol)
    market = markets.read(tables, symbol, limits).fields
    is_fresh = market.marked and abs(now_ns - market.clock_ns) <= limits.mark_age_max_ns
    return market.bid_e4 if is_fresh else 0


def keep_flow(tables: Tables, command: Fund | Withdraw, markets: MarketReader, now_ns: int) -> None:
    """Money and shares that come in or go out move what the account is measured from."""
    table, account_key = tables.changelogged(TABLE), command.account_id.encode()
    row: EquityRow | None = table.get(account_key)
    if row is None:
        return
    if isinstance(command, Withdraw):
        table.put(account_key, with_flow(row, -command.cash_e4))
        return
    worth_e4 = 0
    if command.symbol is not None:
        worth_e4 = equity_e4(0, [(command.qty, bid_e4(tables, markets, command.symbol, now_ns))])
    flow_e4 = UNKNOWN_E4 if worth_e4 == UNKNOWN_E4 else worth_e4 + command.cash_e4
    table.put(account_key, with_flow(row, flow_e4))
