"""``tidemark projection``."""

import getpass
import json
import socket
import time
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from orders.rebuild import State
from rich.table import Table

from tidemark import console
from tidemark.options import (
    DEFAULT_STATE,
    BootstrapOption,
    PostgresOption,
    StateDirOption,
    addresses,
    reader_settings,
)
from tidemark.projection import LogRange, ProjectionAdmin, log_ranges
from tidemark.state import StateDir


class Action(StrEnum):
    SHOW = "show"
    REBUILD = "rebuild"


def projection(
    action: Annotated[Action, typer.Argument(help="show how it stands, or rebuild it from the log.")],
    yes: Annotated[
        bool, typer.Option("--yes", help="With rebuild: do it; without, it only says what it would do.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", help="With rebuild: why; it is kept.")] = "",
    recreate: Annotated[
        bool, typer.Option("--recreate", help="With rebuild: make the tables anew; grants and views on them are lost.")
    ] = False,
    accept_loss: Annotated[
        bool,
        typer.Option("--accept-loss", help="With rebuild: also where the log does not keep its beginning any more."),
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, help="With rebuild: seconds to wait until the rows are there again.")
    ] = 300.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
    bootstrap: BootstrapOption = None,
    postgres: PostgresOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Show how far the rows in PostgreSQL are, or have the orders service make all of them anew from the log.

    Reads lack what is not there again yet, and say so; orders are taken and answered meanwhile, and nothing has to be
    stopped. A rebuild only says what it would do, unless --yes is given; that it was done is kept in
    projection_rebuilds. It refuses where the log does not keep its beginning any more, for those rows would be lost.
    """
    where = addresses(StateDir(state_dir), kafka_bootstrap=bootstrap, postgres_dsn=postgres)
    admin = ProjectionAdmin(where.postgres_dsn)

    async def main() -> None:
        ranges = await log_ranges(reader_settings(where))
        state = await admin.state()
        _show(state, ranges, as_json)
        if action is Action.SHOW:
            return
        refusal = _refusal(state, ranges, recreate=recreate, accept_loss=accept_loss)
        if not yes:
            console.err.print(refusal or "nothing was done; --yes makes all of these rows anew")
            return
        if refusal:
            raise console.CommandError(refusal)
        began = time.monotonic()
        await admin.rebuild(f"{getpass.getuser()}@{socket.gethostname()}", reason, recreate=recreate)
        console.err.print("the rows are gone; the orders service reads the log again …")
        await admin.until_reached(state.positions, timeout)
        console.err.print(f"as far as it was before, after {time.monotonic() - began:.1f} s")

    console.run(main())


NOT_KEPT: Final = (
    "the log does not keep its beginning any more ({places}): rows made from what is gone would be lost. "
    "--accept-loss does it all the same"
)


def _refusal(state: State, ranges: LogRange, *, recreate: bool, accept_loss: bool) -> str:
    """Why it is not done as asked; empty where nothing speaks against it."""
    missing = [name for name, count in state.rows.items() if count is None]
    if (missing or state.wrong_columns) and not recreate:
        return f"tables are not as they should be ({', '.join([*missing, *state.wrong_columns])}): give --recreate"
    short = [f"{topic}/{partition} begins at {low}" for (topic, partition), (low, _) in ranges.items() if low > 0]
    if short and not accept_loss:
        return NOT_KEPT.format(places=", ".join(short))
    return ""


def _show(state: State, ranges: LogRange, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_object(state, ranges)))
        return
    places = Table("topic", "partition", "log from", "projected", "log to", box=None)
    for (topic, partition), (low, high) in ranges.items():
        projected = state.positions.get((topic, partition), 0)
        places.add_row(topic, *map(str, (partition, low, projected, high)))
    console.out.print(places)
    rows = Table("table", "rows", box=None)
    for name, count in state.rows.items():
        rows.add_row(name, "missing" if count is None else str(count))
    console.out.print(rows)
    for column in state.wrong_columns:
        console.out.print(f"[red]not as it should be:[/] {column}")
    for topic, partition, first, end in state.holes:
        console.out.print(
            f"[yellow]never read:[/] {topic}/{partition}, offsets {first} to {end}: the log had lost them"
        )
    for at, by, why in state.rebuilds:
        console.out.print(f"rebuilt {at} by {by} {why}".rstrip())


def _object(state: State, ranges: LogRange) -> dict[str, Any]:
    return {
        "places": [
            {
                "topic": topic,
                "partition": partition,
                "log_from": low,
                "projected": state.positions.get((topic, partition), 0),
                "log_to": high,
            }
            for (topic, partition), (low, high) in ranges.items()
        ],
        "rows": dict(state.rows),
        "wrong_columns": list(state.wrong_columns),
        "holes": [dict(zip(("topic", "partition", "first", "end"), hole, strict=True)) for hole in state.holes],
        "rebuilds": [dict(zip(("at", "by", "reason"), rebuild, strict=True)) for rebuild in state.rebuilds],
    }
