"""``tidemark stage``: what a stage's partitions stand on, and what can be done where one is refused."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import typer
from common.contracts.topics import RUNTIME_OPERATIONS
from rich.markup import escape
from rich.table import Table
from streams.group.members import group_members
from streams.model.log import Partition
from streams.opening.beginning import shut_out
from streams.process.settings import Settings

from tidemark import console
from tidemark.operations import operators_log
from tidemark.options import DEFAULT_STATE, BootstrapOption, StateDirOption, addresses, reader_settings
from tidemark.services import with_stages
from tidemark.stages import (
    DIFFERENCES_MAX,
    PartitionState,
    StageName,
    count_partitions,
    discard_store,
    gathered,
    plan,
    seek,
    stage_named,
    verify,
)
from tidemark.state import StateDir

ANSWER_TIMEOUT_S: Final = 5.0

stage = typer.Typer(
    help="A stage's partitions: show and verify them, discard a store, move an input position, begin anew.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)
NameArgument = Annotated[str, typer.Argument(help="For instance risk.gate.")]
PartitionOption = Annotated[int, typer.Option("--partition", "-p", min=0, help="Which partition.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do it; without, it only says what it would do.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is kept.")]
DataOption = Annotated[
    Path | None, typer.Option("--data-dir", help="Where the workers' stores lie; default: the running fleet's.")
]


@stage.command("show")
def show(
    name: NameArgument,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a partition instead of a table.")] = False,
    data_dir: DataOption = None,
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Print what each partition stands on: log, layout, positions, lag, owner, store, what the worker says of it."""
    state = StateDir(state_dir)
    settings, data = _where(state, bootstrap, data_dir)

    async def main() -> None:
        named = stage_named(name)
        async with operators_log(settings) as log:
            found = await gathered(log, named, await count_partitions(log, named), data)
        said = await _said(state, named)
        if as_json:
            for each in found:
                sys.stdout.write(json.dumps({**asdict(each), "worker": said.get(str(each.number))}) + "\n")
            return
        _print(named, found, said)

    console.run(main())


@stage.command("verify")
def verify_stores(
    name: NameArgument,
    data_dir: DataOption = None,
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Compare each store on this machine with the fold of its changelog. Reads only; exits with 1 where they differ."""
    settings, data = _where(StateDir(state_dir), bootstrap, data_dir)

    async def main() -> bool:
        named, sound = stage_named(name), True
        where = _needed(data)
        async with operators_log(settings) as log:
            for number in await count_partitions(log, named):
                if not named.store_path(where, number).is_dir():
                    console.out.print(f"{name}/{number}: no store here")
                    continue
                wrong = await verify(log, named, number, where)
                sound = sound and not wrong
                console.out.print(f"{name}/{number}: {f'{len(wrong)} differences' if wrong else 'as the changelog'}")
                for line in wrong[:DIFFERENCES_MAX]:
                    console.out.print(f"  [red]{escape(line)}[/]")
        return sound

    if not console.run(main()):
        raise typer.Exit(1)


@stage.command("reset")
def reset(
    name: NameArgument,
    partition: PartitionOption,
    yes: YesOption = False,
    reason: ReasonOption = "",
    data_dir: DataOption = None,
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Discard a partition's store; the worker's next start restores it from the changelog.

    Right where the store is wrong and the changelog is not. Where the changelog has lost rows, the store may be the
    only copy that has them: `tidemark stage verify` shows what would be lost.
    """
    settings, data = _where(StateDir(state_dir), bootstrap, data_dir)

    async def main() -> None:
        named, where = stage_named(name), _needed(data)
        async with operators_log(settings) as log:
            path = named.store_path(where, partition)
            console.err.print(escape(f"{path} is discarded, and made anew from {named.changelog.name}/{partition}"))
            if not yes:
                console.err.print("nothing was done; --yes does it")
                return
            await discard_store(log, named, partition, where, reason, RUNTIME_OPERATIONS)
            console.out.print("discarded")

    console.run(main())


@stage.command("seek")
def seek_input(
    name: NameArgument,
    topic: Annotated[str, typer.Argument(help="The input, for instance orders.intents.")],
    partition: PartitionOption,
    to: Annotated[
        int | None, typer.Option("--to", min=0, help="The offset to read next; default: the oldest that is kept.")
    ] = None,
    yes: YesOption = False,
    reason: ReasonOption = "",
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Move the input position of a stage that is stopped, in one transaction with the record of it."""
    settings, _ = _where(StateDir(state_dir), bootstrap, None)

    async def main() -> None:
        named = stage_named(name)
        async with operators_log(settings) as log:
            move = await plan(log, named, partition, topic, to)
            console.err.print(escape(move.meaning()))
            await _stopped(settings, named)
            if not yes:
                console.err.print("nothing was done; --yes does it")
                return
            await seek(log, named, move, reason)
            console.out.print(escape(f"{name} reads {topic}/{partition} from {move.to} on"))

    console.run(main())


@stage.command("begin")
def begin(
    name: NameArgument,
    partition: PartitionOption,
    yes: YesOption = False,
    reason: ReasonOption = "",
    data_dir: DataOption = None,
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Let a partition whose changelog lost rows, and of which there is no store, begin anew.

    The gate's rows are made again from its answers and its ledger, and each entry must come out as it stands there;
    otherwise nothing is done. Another stage begins without rows, and its inputs are read on from where it was.
    """
    from tidemark.beginnings import begin_anew, plan_beginning  # brings in the services

    settings, data = _where(StateDir(state_dir), bootstrap, data_dir)

    async def main() -> None:
        named = stage_named(name)
        async with operators_log(settings) as log:
            await _stopped(settings, named)
            if yes:  # before the rows are made: nobody may change afterwards what they are made from
                await shut_out(log, named.full, Partition(named.changelog.name, partition))
            plan = await plan_beginning(log, named, partition, data)
            for line in plan.meaning:
                console.err.print(escape(line))
            if not yes:
                console.err.print("nothing was done; --yes does it")
                return
            await begin_anew(log, plan, reason)
            console.out.print(escape(f"{name}/{partition} begins anew"))

    console.run(main())


async def _stopped(settings: Settings, named: StageName) -> None:
    running = await group_members(settings.kafka.bootstrap, named.full)
    if running:
        raise console.CommandError(f"{named.full} runs ({', '.join(running)}): stop its workers first")


def _where(state: StateDir, bootstrap: str | None, data_dir: Path | None) -> tuple[Settings, Path | None]:
    with console.reported():
        found = addresses(state, kafka_bootstrap=bootstrap)
    kept = found.data_dir or (str(state.data) if state.data.is_dir() else "")
    return reader_settings(found), data_dir or (Path(kept) if kept else None)


def _needed(data_dir: Path | None) -> Path:
    if data_dir is None:
        raise console.CommandError("no stores are known here: give --data-dir")
    return data_dir


async def _said(state: StateDir, named: StageName) -> dict[str, Any]:
    """Words of the running fleet's worker on each partition; empty where none answers."""
    record = state.running()
    app, name = named.full.split(".")
    if record is None or app not in record.services:
        return {}
    try:
        async with httpx.AsyncClient(timeout=ANSWER_TIMEOUT_S) as client:
            url = record.operations_url(with_stages(app, record.services))
            page = (await client.get(f"{url}/health/ready")).json()
    except (httpx.HTTPError, ValueError):
        return {}
    return said_of_partitions(page, f"stage {name}")


def said_of_partitions(page: Any, check: str) -> dict[str, Any]:
    """Partition → what a ready page says of it; beside its state why it was given up, where it was."""
    checks = page.get("checks", page) if isinstance(page, dict) else {}
    detail = checks.get(check, {}) if isinstance(checks, dict) else {}
    detail = detail.get("detail", detail) or {}
    found = {number: dict(said) for number, said in detail.get("partitions", {}).items()}
    for number, reason in detail.get("given_up", {}).items():
        found.setdefault(number, {})["given_up"] = reason
    return found


def in_words(worker: Any) -> str:
    """The worker's words on a partition, in one line."""
    if not isinstance(worker, dict):
        return str(worker)
    given_up = f"given up: {worker['given_up']}" if worker.get("given_up") else ""
    return "; ".join(filter(None, (worker.get("reason") or worker.get("state", ""), given_up)))


def _print(named: StageName, found: list[PartitionState], said: dict[str, Any]) -> None:
    columns = ("partition", "changelog", "rows", "layout", "store", "landmark", "owner", "inputs", "worker")
    table = Table(*columns, box=None)
    for each in found:
        inputs = ", ".join(f"{topic} {at} (lag {each.lag[topic]})" for topic, at in sorted(each.positions.items()))
        store = "" if each.store is None else str(each.store)
        cells = (
            str(each.number),
            f"{each.begin}…{each.end}",
            str(each.rows),
            each.layout,
            store,
            each.landmark,
            each.owner,
            inputs,
            in_words(said.get(str(each.number), {})),
        )
        table.add_row(*map(escape, cells))
    console.out.print(table)
    for identity in sorted({each.identity for each in found if each.identity}):
        console.out.print(f"{named.changelog.name} is {identity}")
