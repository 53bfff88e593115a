"""``tidemark report``: positions, profit and loss of a day, as CSV."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer
from common.contracts.events import LedgerEntry
from common.contracts.topics import RISK_LEDGER
from rich.markup import escape
from streams.process.settings import Settings

from tidemark import console
from tidemark.log_end import read_committed
from tidemark.market_tables import read_table
from tidemark.options import DEFAULT_STATE, BootstrapOption, KeyringOption, StateDirOption, addresses, reader_settings
from tidemark.personal.keyring import Keyring
from tidemark.personal.masking import Masks
from tidemark.profit_report import (
    AccountLine,
    PositionLine,
    Unbalanced,
    account_lines,
    day_of,
    position_lines,
    read_prices,
    write_csv,
)
from tidemark.state import StateDir

NS_PER_S: Final = 1_000_000_000
POSITIONS: Final = "positions.csv"
ACCOUNTS: Final = "accounts.csv"


def report(
    day: Annotated[
        datetime | None, typer.Option("--day", formats=["%Y-%m-%d"], help="Day of UTC; default: today, up to now.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help=f"Folder for {POSITIONS} and {ACCOUNTS}.")] = Path(),
    prices: Annotated[
        Path | None,
        typer.Option("--prices", help="CSV symbol,price_e4 of the day's end; default: last sales, as now."),
    ] = None,
    basis: Annotated[
        Path | None,
        typer.Option("--basis", help="CSV symbol,price_e4: what shares that came from outside have cost; default: 0."),
    ] = None,
    keyring: KeyringOption = None,
    account: Annotated[str | None, typer.Option("--account", help="Of this account alone.")] = None,
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Write a day's positions and profit: realised by first in first out and by average cost, and unrealised.

    Everything is the fold of the committed ledger: what was held at the start of the day, what was bought and sold
    in it, and what is left. The exit code is 1 where, of any account, realised and unrealised are not cash and marked
    positions less what came from outside.
    """
    settings = reader_settings(addresses(StateDir(state_dir), kafka_bootstrap=bootstrap))
    begin = (day or datetime.now(UTC)).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=UTC)
    masks = Masks(Keyring(keyring)) if keyring else None
    console.run(_report(settings, begin, out, prices, basis, account, masks))


async def _report(
    settings: Settings,
    begin: datetime,
    out: Path,
    prices: Path | None,
    basis: Path | None,
    account: str | None,
    masks: Masks | None,
) -> None:
    costs = {} if basis is None else _read(basis)
    at = await _marked(settings) if prices is None else _read(prices)
    key = None if account is None else account.encode()
    entries: list[LedgerEntry] = []
    async for messages in read_committed(settings, [RISK_LEDGER]):
        entries += [message.body for message in messages if key is None or message.key == key]
    begin_ns, end_ns = (int(each.timestamp()) * NS_PER_S for each in (begin, begin + timedelta(days=1)))
    try:
        told = day_of(f"{begin:%Y-%m-%d}", begin_ns, end_ns, entries, lambda _account_id, symbol: costs.get(symbol, 0))
        accounts = list(account_lines(told, at))
    except Unbalanced as error:
        raise console.CommandError(str(error)) from error
    except ValueError as error:
        raise console.CommandError(f"{RISK_LEDGER.name}: {error}") from error
    count = _write(out, _masked(position_lines(told, at), masks), _masked(accounts, masks))
    unknown = sum(line.end_worth_e4 is None for line in accounts)
    said = f"; {unknown} accounts hold something of which nobody said a price" if unknown else ""
    console.out.print(escape(f"{count} positions of {len(accounts)} accounts on {told.name}{said}"))


_Line = TypeVar("_Line", PositionLine, AccountLine)


def _masked(lines: Iterable[_Line], masks: Masks | None) -> list[_Line]:
    return [line if masks is None else line._replace(account_id=masks.account(line.account_id)) for line in lines]


def _write(out: Path, positions: Sequence[PositionLine], accounts: Sequence[AccountLine]) -> int:
    """Returns how many positions there are."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_csv(out / POSITIONS, positions, PositionLine)
        write_csv(out / ACCOUNTS, accounts, AccountLine)
    except OSError as error:
        raise console.CommandError(f"cannot write to {out}: {error.strerror}") from error
    return len(positions)


def _read(path: Path) -> dict[str, int]:
    try:
        return read_prices(path)
    except OSError as error:
        raise console.CommandError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise console.CommandError(str(error)) from error


async def _marked(settings: Settings) -> dict[str, int]:
    """Last sale of each symbol that had one, as the log has it now."""
    rows = (await read_table(settings, "marks")).select(["symbol", "last_e4"]).to_pylist()
    return {row["symbol"]: row["last_e4"] for row in rows if row["last_e4"]}
