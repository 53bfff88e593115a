"""``tidemark topics``: what the topics should be, how they differ, and to put right what a setting puts right."""

import json
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Final

import typer
from common.contracts.topics import STAGES, TOPICS, Topic, with_dead_letters
from common.fleet_topics import create_topics
from rich.markup import escape
from rich.table import Table
from streams.kafka.kafka_log import KafkaLog
from streams.kafka.partition_counts import settle
from streams.kafka.topic_settings import Drift, FoundTopics, drifts
from streams.process.settings import Settings

from tidemark import console
from tidemark.operations import Operation, carry_out, operators_log
from tidemark.options import DEFAULT_STATE, BootstrapOption, StateDirOption, addresses, reader_settings
from tidemark.partition_options import PartitionsOption, chosen_partitions
from tidemark.state import StateDir

DIFFERS: Final = 1
ENDANGERED: Final = 2
"""Exit code where a difference endangers money; stages refuse to start then."""
MISSING: Final = "missing"

topics = typer.Typer(
    help="What the topics should be: create what is missing, show what differs, set what can be set.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)
ReplicationOption = Annotated[
    int, typer.Option("--replication", min=1, help="Replicas of each partition of a topic that is created.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")]


@topics.command("create")
def create(
    partitions: PartitionsOption = None,
    replication: ReplicationOption = 1,
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Create what the topic table names and the cluster lacks. What is there stays as it is: see `fix`.

    The number of partitions of a co-partition group is chosen here, once: topics that are added later get the number
    that the group has. Of three replicas two must have a record before it counts, of two or one, one.
    """
    settings = _settings(bootstrap, state_dir)
    asked = chosen_partitions(partitions)
    created = console.run(create_topics(settings.kafka.bootstrap, TOPICS, replication, asked))
    for name in created:
        console.out.print(f"created {name}")
    console.err.print(f"{len(created)} created" if created else "every topic exists")


@topics.command("diff")
def diff(
    as_json: JsonOption = False, bootstrap: BootstrapOption = None, state_dir: StateDirOption = DEFAULT_STATE
) -> None:
    """Show how topics differ from the topic table. Ends with 1 where some do, with 2 where that endangers money."""
    found = console.run(_look(_settings(bootstrap, state_dir)))
    differences = list(differing(found))
    _show(differences, as_json=as_json)
    console.err.print(_verdict(differences))
    if differences:
        raise typer.Exit(ENDANGERED if any(each.endangers for each in differences) else DIFFERS)


@topics.command("fix")
def fix(
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, it only says what it would do.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.")] = "",
    as_json: JsonOption = False,
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Set the settings that differ. That it was done is kept in runtime.operations.

    Numbers of partitions and of replicas are no settings, and missing topics are made by `create`. What was lost while
    a setting was wrong does not come back: stages that lack it refuse to go on, and say so.
    """
    settings = _settings(bootstrap, state_dir)
    found = console.run(_look(settings))
    differences = [each for each in differing(found) if each.can_be_set and each.found != MISSING]
    _show(differences, as_json=as_json)
    if not differences:
        console.err.print("nothing to set; what else differs is shown by `tidemark topics diff`")
        return
    if not yes:
        console.err.print("nothing was done; --yes sets these")
        return
    refused = console.run(_set(settings, differences, reason))
    for name, why in refused.items():
        console.err.print(f"[bold red]{escape(name)}[/] was not set: {escape(why)}")
    if refused:
        raise typer.Exit(1)
    console.err.print(f"{len(differences)} set; kept in runtime.operations")


def _settings(bootstrap: str | None, state_dir: StateDirOption) -> Settings:
    return reader_settings(addresses(StateDir(state_dir), kafka_bootstrap=bootstrap))


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(settings, "tidemark-cli")
    await log.start()
    try:
        yield log
    finally:
        await log.stop()


async def _look(settings: Settings) -> FoundTopics:
    async with _connected(settings) as log:
        await settle(log, TOPICS, STAGES)
        return await log.found_topics([topic.name for topic in with_dead_letters(TOPICS)])


def differing(found: FoundTopics) -> Iterable[Drift]:
    """Every difference, missing topics among them; what endangers money first."""
    differences = [each for topic in with_dead_letters(TOPICS) for each in _of(topic, found)]
    return sorted(differences, key=lambda each: not each.endangers)


def _of(topic: Topic, found: FoundTopics) -> Iterable[Drift]:
    there = found.topics.get(topic.name)
    if there is None:
        otherwise = "no service that needs it starts; `tidemark topics create` makes it"
        return [Drift(topic.name, "partitions", str(topic.partitions), MISSING, otherwise, endangers=False)]
    return drifts(topic, there, found.brokers)


async def _set(settings: Settings, differences: list[Drift], reason: str) -> Mapping[str, str]:
    """Recorded first: a setting is no part of a transaction. Returns topic → why, of those that were not set."""
    wanted: dict[str, dict[str, str]] = defaultdict(dict)
    for each in differences:
        wanted[each.topic][each.setting] = each.wanted
    changes = [f"{each.topic}: {each.setting} from {each.found} to {each.wanted}" for each in differences]
    beside = next(topic for topic in with_dead_letters(TOPICS) if topic.name == differences[0].topic)
    async with operators_log(settings, beside) as log:
        await carry_out(log, Operation(f"topics fix {time.time_ns()}", "topics fix", reason, {"changes": changes}), {})
        return await log.set_topics(wanted)


def _show(differences: list[Drift], *, as_json: bool) -> None:
    if as_json:
        for each in differences:
            sys.stdout.write(json.dumps(each._asdict()) + "\n")
        return
    if not differences:
        return
    table = Table("topic", "setting", "is", "should be", "otherwise")
    for each in differences:
        style = "bold red" if each.endangers else ""
        table.add_row(*map(escape, (each.topic, each.setting, each.found, each.wanted, each.otherwise)), style=style)
    console.out.print(table)


def _verdict(differences: list[Drift]) -> str:
    if not differences:
        return "every topic is as it should be"
    endangering = sum(each.endangers for each in differences)
    settable = sum(each.can_be_set and each.found != MISSING for each in differences)
    said = f"{len(differences)} differ, {endangering} of them endanger money"
    return f"{said}; `tidemark topics fix` sets {settable}, docs/runbooks.md#topicdrift says what of the others"
