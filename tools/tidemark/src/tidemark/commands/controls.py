"""``tidemark controls``: limits and trading states while the gate works: list, propose, approve, halt, resume."""

import getpass
import json
import sys
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Final

import typer
from common.contracts.controls import FIRM, ControlResult, Controls, TradingState
from common.contracts.topics import RISK_CONTROLS
from rich.markup import escape
from rich.table import Table
from streams.process.settings import Settings

from tidemark import console
from tidemark.gate_commands import ApiOption, CommandIdOption, JsonOption, api_of, ask, show
from tidemark.log_end import read_committed
from tidemark.options import DEFAULT_STATE, BootstrapOption, StateDirOption, addresses, reader_settings
from tidemark.state import StateDir

NS_PER_S: Final = 1_000_000_000
TIMES: Final = ["%Y-%m-%dT%H:%M:%S%z"]

controls = typer.Typer(
    help="Limits and trading states while the gate works: list, propose, approve, reject, halt, reduce, resume.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)
AccountOption = Annotated[str, typer.Option("--account", help="Of this account; default: of the firm.")]
SymbolOption = Annotated[str | None, typer.Option("--symbol", help="In this symbol; default: in all.")]
NoteOption = Annotated[str, typer.Option("--note", help="Why, for the record.")]
ByOption = Annotated[str | None, typer.Option("--by", help="Who says so; default: the user of this machine.")]


@controls.command("list")
def list_controls(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")] = False,
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Print what is in force, and what waits for somebody's word, as the committed log has it."""
    settings = reader_settings(addresses(StateDir(state_dir), kafka_bootstrap=bootstrap))
    known = console.run(read_controls(settings))
    if as_json:
        for one in known.values():
            sys.stdout.write(one.model_dump_json(exclude_none=True) + "\n")
        return
    table = Table("of", "symbol", "kind", "says", "by", "note")
    for one in known.values():
        for cells in _rows(one):
            table.add_row(*map(escape, cells))
    console.out.print(table)


@controls.command("propose")
def propose(
    note: NoteOption,
    values: Annotated[
        list[str] | None,
        typer.Argument(help="Limits, as NAME=VALUE; a flag is 0 or 1. None: what was said before is taken back."),
    ] = None,
    account: AccountOption = FIRM,
    symbol: SymbolOption = None,
    effective: Annotated[
        datetime | None, typer.Option("--effective", formats=TIMES, help="When they begin; default: at once.")
    ] = None,
    order: Annotated[str | None, typer.Option("--order", help="An override for this client order id alone.")] = None,
    expires: Annotated[datetime | None, typer.Option("--expires", formats=TIMES, help="When an override ends.")] = None,
    by: ByOption = None,
    command_id: CommandIdOption = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Propose limits. They are in force once another person has approved them."""
    body: dict[str, Any] = {"symbol": symbol, "values": _values(values or []), "client_order_id": order}
    body |= {"effective_ns": _ns(effective) or 0, "expires_ns": _ns(expires)}
    sent = _send("proposals", account, body, note, by, command_id, api, state_dir)
    show(*sent[1:], f"proposed; tidemark controls approve {sent[0]} --account {account} --note …", as_json=as_json)


@controls.command("approve")
def approve(
    proposal: Annotated[str, typer.Argument(help="As `tidemark controls list` shows it.")],
    note: NoteOption,
    account: AccountOption = FIRM,
    by: ByOption = None,
    command_id: CommandIdOption = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Approve what somebody else has proposed."""
    sent = _send(f"proposals/{proposal}", account, {"verdict": "APPROVE"}, note, by, command_id, api, state_dir)
    show(*sent[1:], f"{proposal} is approved", as_json=as_json)


@controls.command("reject")
def reject(
    proposal: Annotated[str, typer.Argument(help="As `tidemark controls list` shows it.")],
    note: NoteOption,
    account: AccountOption = FIRM,
    by: ByOption = None,
    command_id: CommandIdOption = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Reject a proposal."""
    sent = _send(f"proposals/{proposal}", account, {"verdict": "REJECT"}, note, by, command_id, api, state_dir)
    show(*sent[1:], f"{proposal} is rejected", as_json=as_json)


@controls.command("state")
def state(
    state: Annotated[TradingState, typer.Argument(help="HALTED: nothing; REDUCING: SELLs only; ACTIVE: all.")],
    note: NoteOption,
    account: AccountOption = FIRM,
    symbol: SymbolOption = None,
    by: ByOption = None,
    command_id: CommandIdOption = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Halt trading, let it only reduce positions, or resume it. What is open where it is halted is canceled."""
    body = {"state": state.value, "symbol": symbol}
    sent = _send("state", account, body, note, by, command_id, api, state_dir)
    show(*sent[1:], f"{_of(account)}, {symbol or 'all symbols'}: {state.value}", as_json=as_json)


async def read_controls(settings: Settings) -> dict[str, Controls]:
    """By account, the newest that the committed log has."""
    known: dict[str, Controls] = {}
    async for messages in read_committed(settings, [RISK_CONTROLS]):
        for message in messages:
            result: ControlResult = message.body
            before = known.get(result.account_id)
            if result.controls is not None and (before is None or before.seq < result.controls.seq):
                known[result.account_id] = result.controls
    return known


def _send(
    path: str,
    account: str,
    body: dict[str, Any],
    note: str,
    by: str | None,
    command_id: str | None,
    api: str | None,
    state_dir: Any,
) -> tuple[str, int, dict[str, Any]]:
    """The command's id, and status and body of the answer."""
    said = {name: value for name, value in body.items() if value is not None}
    whole = {"command_id": command_id or uuid.uuid4().hex, "by": by or getpass.getuser(), "note": note, **said}
    state = StateDir(state_dir)
    return whole["command_id"], *console.run(ask(state, api_of(state, api), f"/v1/controls/{account}/{path}", whole))


def _values(said: list[str]) -> dict[str, int]:
    values: dict[str, int] = {}
    for each in said:
        name, _, value = each.partition("=")
        try:
            values[name] = int(value)
        except ValueError:
            raise typer.BadParameter(f"{each!r} is not NAME=VALUE, with a whole number") from None
    return values


def _ns(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp()) * NS_PER_S


def _of(account_id: str) -> str:
    return "firm" if account_id == FIRM else account_id


def _rows(one: Controls) -> Iterator[tuple[str, ...]]:
    of = _of(one.account_id)
    for state in one.states:
        yield of, state.symbol or "", "state", state.state.value, state.by, state.note
    for limits in one.limits:
        who = f"{limits.proposed_by}, {limits.approved_by}"
        said = f"{_said(limits.values)} from {limits.effective_ns}"
        yield of, limits.symbol or "", f"limits, version {limits.version}", said, who, limits.note
    for override in one.overrides:
        who = f"{override.proposed_by}, {override.approved_by}"
        said = f"{_said(override.values)} until {override.expires_ns}"
        yield of, "", f"order {override.client_order_id}", said, who, override.note
    for proposal in one.proposals:
        kind = f"proposal {proposal.proposal_id}"
        yield of, proposal.symbol or "", kind, _said(proposal.values), proposal.by, proposal.note


def _said(values: dict[str, int]) -> str:
    return json.dumps(values)
