"""``tidemark fence``: which partitions must stand still because the ledger is broken there, and how they go on."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from tidemark import console
from tidemark.fences import fences, lift, meaning, raised_fence
from tidemark.operations import operators_log
from tidemark.options import DEFAULT_STATE, BootstrapOption, StateDirOption, addresses, reader_settings
from tidemark.stages import stage_named
from tidemark.state import StateDir

fence = typer.Typer(
    help="Fences of the auditor: show which are raised and why, lift one.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)


@fence.command("show")
def show(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")] = False,
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Print every fence there is or was: raised or lifted, by whom, since when and why."""
    settings = reader_settings(addresses(StateDir(state_dir), kafka_bootstrap=bootstrap))

    async def main() -> None:
        async with operators_log(settings) as log:
            found = await fences(log)
        table = Table("fence", "is", "by", "at", "why", box=None)
        for key, each in sorted(found.items()):
            if as_json:
                sys.stdout.write(each.model_dump_json() + "\n")
            at = datetime.fromtimestamp(each.at_ns / 1e9, UTC).isoformat(timespec="seconds")
            table.add_row(*map(escape, (key, "raised" if each.raised else "lifted", each.by, at, each.reason)))
        if not as_json:
            console.out.print(table)
            console.err.print(f"{sum(each.raised for each in found.values())} raised")

    console.run(main())


@fence.command("lift")
def lift_fence(
    name: Annotated[str, typer.Argument(help="The stage, for instance risk.gate.")],
    partition: Annotated[
        int | None, typer.Option("--partition", "-p", min=0, help="Which partition; without, the fence of all of them.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, it only says what it would do.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.")] = "",
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Let a partition go on that the auditor has stopped, once somebody has looked at what stopped it."""
    settings = reader_settings(addresses(StateDir(state_dir), kafka_bootstrap=bootstrap))

    async def main() -> None:
        stage = stage_named(name).full
        async with operators_log(settings) as log:
            raised = raised_fence(await fences(log), stage, partition)
            console.err.print(escape(f"raised by {raised.by or 'nobody knows whom'}: {raised.reason}"))
            console.err.print(escape(meaning(raised)))
            if not yes:
                console.err.print("nothing was done; --yes does it")
                return
            await lift(log, raised, reason)
            console.out.print(escape(f"fence {raised.key} is lifted"))

    console.run(main())
