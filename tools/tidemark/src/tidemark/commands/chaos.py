"""``tidemark chaos``."""

import json
import sys
import time
from typing import Annotated

import typer
from rich.markup import escape

from tidemark import console
from tidemark.chaos.recovery import table
from tidemark.chaos.report import markdown, show
from tidemark.chaos.schedule import CATALOGUE, Schedule
from tidemark.chaos.storm import Storm, StormOptions
from tidemark.options import DEFAULT_STATE, StateDirOption
from tidemark.partition_options import BrokersOption, PartitionsOption, checked_brokers, chosen_partitions
from tidemark.state import StateDir

CHAOS_STATE = "chaos"


def chaos(
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the faults, their order, and the load.")] = 1,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="How long faults are struck.")] = 60.0,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            help=f"Only these: {', '.join(CATALOGUE)}; or narrower kind:service (kill:risk), or a step.",
        ),
    ] = None,
    brokers: BrokersOption = 3,
    partitions: PartitionsOption = None,
    workers: Annotated[int, typer.Option("--workers", min=2, max=8, help="Of the gate.")] = 2,
    secure: Annotated[
        bool, typer.Option("--secure", help="At a fleet whose parts know every service and whose API asks who you are.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The last line of output is one JSON object.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="The recovery table as Markdown.")] = False,
    state_dir: StateDirOption = DEFAULT_STATE / CHAOS_STATE,
) -> None:
    """Strike real faults at a fleet of its own under load, one after the other, and audit the money.

    Begins with empty data each time. While it runs, a reader of the committed log checks every record: nothing twice,
    no gap, no entry that does not balance, nobody overdrawn; at the end every intent must have its answer, and the
    audit compares the ledger with every copy. Recovery is the time until something sent after the fault (or after its
    heal) is committed and seen. What must be refused (a log that is not what it was) is healed by the hand that the
    refusal names, and counted. What this machine cannot do (a second host and a small disk need root) is named as
    skipped. Exits with 1 where anything is lost, doubled or broken, does not recover, or is not refused.
    """
    checked_brokers(brokers)
    asked = chosen_partitions(partitions)
    chosen = tuple(only or ())
    for name in chosen:
        if not Schedule(seed, [name]).chosen():
            raise typer.BadParameter(
                f"no fault is called {name!r}; there are {', '.join(CATALOGUE)}", param_hint="--only"
            )
    options = StormOptions(seed, seconds, chosen, brokers, asked, workers, secure=secure)
    began_s = time.monotonic()

    def say(text: str) -> None:
        console.err.print(f"{time.monotonic() - began_s:6.1f} s  {escape(text)}")

    storm = Storm(StateDir(state_dir), options, say)
    outcome = console.run(storm.run())
    show(outcome, console.err if as_json or as_markdown else console.out)
    if as_markdown:
        sys.stdout.write(markdown(table(outcome.incidents)) + "\n")
    if as_json:
        sys.stdout.write(json.dumps(outcome.as_dict()) + "\n")
    if outcome.violations:
        raise typer.Exit(1)
