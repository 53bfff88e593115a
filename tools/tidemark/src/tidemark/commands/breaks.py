"""``tidemark breaks``: execution reports that the books refuse, and what becomes of them."""

import json
import sys
import uuid
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from common.contracts.breaks import BreakResolution, ExecutionBreak
from common.contracts.events import BreakAction
from common.contracts.topics import RISK_BREAKS
from rich.markup import escape
from rich.table import Table
from streams.process.settings import Settings

from tidemark import console
from tidemark.gate_commands import ApiOption, CommandIdOption, JsonOption, api_of, ask, show
from tidemark.log_end import read_committed
from tidemark.options import (
    DEFAULT_STATE,
    BootstrapOption,
    StateDirOption,
    addresses,
    reader_settings,
)
from tidemark.state import StateDir

breaks = typer.Typer(
    help="Execution reports that the books refuse: list them, book or refuse each.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)


@dataclass(frozen=True, slots=True)
class Known:
    """A break, and its resolution once there is one."""

    opened: ExecutionBreak
    resolution: BreakResolution | None = None


@breaks.command("list")
def list_breaks(
    everything: Annotated[
        bool, typer.Option("--all/--open", help="Resolved ones too; default: only those that are open.")
    ] = False,
    account: Annotated[str | None, typer.Option("--account", help="Only of this account.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")] = False,
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Print the breaks in the committed log, oldest first."""
    settings = reader_settings(addresses(StateDir(state_dir), kafka_bootstrap=bootstrap))
    known = console.run(read_breaks(settings))
    chosen = [
        one
        for one in known.values()
        if (everything or one.resolution is None) and account in (None, one.opened.account_id)
    ]
    chosen.sort(key=lambda one: one.opened.opened_ns)
    if as_json:
        for one in chosen:
            sys.stdout.write(json.dumps(_as_dict(one)) + "\n")
        return
    table = Table("break", "account", "order", "report", "reason", "numbers", "moves when booked", "state")
    for one in chosen:
        table.add_row(*map(escape, _cells(one)))
    console.out.print(table)
    is_open = sum(one.resolution is None for one in known.values())
    console.err.print(f"{len(chosen)} shown, {is_open} open of {len(known)} in all")


@breaks.command("resolve")
def resolve(
    break_id: Annotated[str, typer.Argument(help="As `tidemark breaks list` shows it, for instance 2-117.")],
    book: Annotated[
        bool, typer.Option("--book/--break", help="Book what the report says has happened, or refuse it for good.")
    ] = ...,  # type: ignore[assignment]  # typer's way to say that one of the two must be given
    note: Annotated[str, typer.Option("--note", help="Why, for the record.")] = ...,  # type: ignore[assignment]
    command_id: CommandIdOption = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Resolve a break. Prints the gate's committed answer; exits with 2 where the gate says no, with its numbers."""
    state = StateDir(state_dir)
    settings = reader_settings(addresses(state, kafka_bootstrap=bootstrap))
    base_url = api_of(state, api)
    action = BreakAction.BOOK if book else BreakAction.BREAK
    body = {"command_id": command_id or f"resolve-{uuid.uuid4().hex}", "action": action.value, "note": note}
    status, answer = console.run(_resolve(state, settings, base_url, break_id, body))
    show(status, answer, f"{break_id}: {action.value} accepted by command {body['command_id']}", as_json=as_json)


async def read_breaks(settings: Settings) -> dict[str, Known]:
    """Every break of the committed log, by id."""
    known: dict[str, Known] = {}
    async for messages in read_committed(settings, [RISK_BREAKS]):
        for message in messages:
            body: ExecutionBreak | BreakResolution = message.body
            if isinstance(body, ExecutionBreak):
                known[body.break_id] = Known(body)
            else:
                known[body.break_id] = Known(body.resolved, body)
    return known


async def _resolve(
    state: StateDir, settings: Settings, base_url: str, break_id: str, body: dict[str, str]
) -> tuple[int, dict[str, Any]]:
    known = (await read_breaks(settings)).get(break_id)
    if known is None:
        raise console.CommandError(f"there is no break {break_id}; `tidemark breaks list --all` shows those there are")
    path = f"/v1/accounts/{known.opened.account_id}/breaks/{break_id}"
    return await ask(state, base_url, path, body)


def _as_dict(one: Known) -> dict[str, Any]:
    found = one.opened.model_dump(mode="json", exclude_none=True)
    resolution = one.resolution
    found["state"] = "OPEN" if resolution is None else resolution.action.value
    if resolution is not None:
        found["resolution"] = resolution.model_dump(mode="json", exclude={"resolved", "type"})
    return found


def _cells(one: Known) -> tuple[str, ...]:
    opened, report, effect = one.opened, one.opened.report, one.opened.effect
    said = f"{report.exec_type.value} {report.execution_id}"
    if report.last_qty:
        said += f": {report.side.name} {report.last_qty} {report.symbol} at {console.price_text(report.last_price_e4)}"
    moves = [
        f"{word} {qty} at {console.price_text(price_e4)}"
        for word, qty, price_e4 in (
            ("take back", effect.back_qty, effect.back_price_e4),
            ("fill", effect.fill_qty, effect.fill_price_e4),
        )
        if qty
    ]
    moves += ["end the order"] if effect.ends else []
    numbers = ", ".join(f"{name} {value}" for name, value in opened.compared.items())
    state = "open, money waits" if opened.parked else "open"
    if one.resolution is not None:
        state = f"{one.resolution.action.value}: {one.resolution.note}"
    return (
        opened.break_id,
        opened.account_id,
        opened.order_id,
        said,
        opened.reason.value,
        numbers,
        ", ".join(moves) or "nothing",
        state,
    )
