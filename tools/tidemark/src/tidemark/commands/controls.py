"""``tidemark controls``: limits and trading states while the gate works: list, propose, approve, halt, resume."""

import getpass
import json
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from inspect import Parameter, Signature, signature
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
ProposalArgument = Annotated[str, typer.Argument(help="As `tidemark controls list` shows it.")]
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


@dataclass(frozen=True, slots=True)
class Word:
    """Options of every command that says something to the gate: of whom, why, by whom, and where it is asked."""

    note: NoteOption
    account: AccountOption = FIRM
    by: ByOption = None
    command_id: CommandIdOption = None
    as_json: JsonOption = False
    api: ApiOption = None
    state_dir: StateDirOption = DEFAULT_STATE

    def send(self, path: str, body: Mapping[str, Any], done: str) -> None:
        """Asks once, and shows the answer; ``done``: what is printed where the gate agrees, ``{id}`` of the command."""
        said = {name: value for name, value in body.items() if value is not None}
        command_id, state = self.command_id or uuid.uuid4().hex, StateDir(self.state_dir)
        whole = {"command_id": command_id, "by": self.by or getpass.getuser(), "note": self.note, **said}
        answer = console.run(ask(state, api_of(state, self.api), f"/v1/controls/{self.account}/{path}", whole))
        show(*answer, done.replace("{id}", command_id), as_json=self.as_json)


def saying(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a command with its own options and those of ``Word``, which it is handed first."""

    def register(command: Callable[..., None]) -> Callable[..., None]:
        own = list(signature(command).parameters.values())[1:]
        shared = signature(Word).parameters

        def run(**given: Any) -> None:
            command(Word(**{option: given.pop(option) for option in shared}), **given)

        options = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in (*own, *shared.values())]
        run.__signature__ = Signature(options)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in options}
        controls.command(name, help=command.__doc__)(run)
        return command

    return register


@saying("propose")
def propose(
    word: Word,
    values: Annotated[
        list[str] | None,
        typer.Argument(help="Limits, as NAME=VALUE; a flag is 0 or 1. None: what was said before is taken back."),
    ] = None,
    symbol: SymbolOption = None,
    effective: Annotated[
        datetime | None, typer.Option("--effective", formats=TIMES, help="When they begin; default: at once.")
    ] = None,
    order: Annotated[str | None, typer.Option("--order", help="An override for this client order id alone.")] = None,
    expires: Annotated[datetime | None, typer.Option("--expires", formats=TIMES, help="When an override ends.")] = None,
) -> None:
    """Propose limits. They are in force once another person has approved them."""
    body: dict[str, Any] = {"symbol": symbol, "values": _values(values or []), "client_order_id": order}
    body |= {"effective_ns": _ns(effective) or 0, "expires_ns": _ns(expires)}
    word.send("proposals", body, f"proposed; tidemark controls approve {{id}} --account {word.account} --note …")


@saying("approve")
def approve(word: Word, proposal: ProposalArgument) -> None:
    """Approve what somebody else has proposed."""
    word.send(f"proposals/{proposal}", {"verdict": "APPROVE"}, f"{proposal} is approved")


@saying("reject")
def reject(word: Word, proposal: ProposalArgument) -> None:
    """Reject a proposal."""
    word.send(f"proposals/{proposal}", {"verdict": "REJECT"}, f"{proposal} is rejected")


@saying("state")
def state(
    word: Word,
    state: Annotated[TradingState, typer.Argument(help="HALTED: nothing; REDUCING: SELLs only; ACTIVE: all.")],
    symbol: SymbolOption = None,
) -> None:
    """Halt trading, let it only reduce positions, or resume it. What is open where it is halted is canceled."""
    said = f"{_of(word.account)}, {symbol or 'all symbols'}: {state.value}"
    word.send("state", {"state": state.value, "symbol": symbol}, said)


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
