"""``tidemark dlq``: messages that a stage has set aside, and how one is handled after all."""

import json
import sys
from typing import Annotated, Any

import typer
from common.contracts.topics import STAGE_INPUTS
from rich.markup import escape
from rich.table import Table
from streams.process.settings import Settings

from tidemark import console
from tidemark.dead_letters import KeptLetter, letter_named, letters, operation_of, send
from tidemark.operations import Operation, done_before, operators_log
from tidemark.options import DEFAULT_STATE, BootstrapOption, StateDirOption, addresses, reader_settings
from tidemark.state import StateDir
from tidemark.topic_names import topic_named

dlq = typer.Typer(
    help="Messages that a stage has set aside: list them, show one, send one back.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)
NameArgument = Annotated[str, typer.Argument(help="As `tidemark dlq list` shows it: orders.intents.dlq/2/17.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")]


@dlq.command("list")
def list_letters(
    topic: Annotated[str, typer.Option("--topic", help="Only of this input, for instance orders.intents.")] = "",
    as_json: JsonOption = False,
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Print the dead letters that are kept, and which were sent back."""
    settings = reader_settings(addresses(StateDir(state_dir), kafka_bootstrap=bootstrap))
    found, done = console.run(_found(settings, topic))
    table = Table("letter", "stage", "was at", "error", "sent", box=None)
    for letter in found:
        if as_json:
            sys.stdout.write(json.dumps(_as_dict(letter, done)) + "\n")
        sent = done.get(operation_of(letter).key)
        said = letter.letter
        cells = (letter.name, said.stage, f"{said.topic}/{said.partition}/{said.offset}", said.error)
        table.add_row(*map(escape, cells), escape(sent.by) if sent else "")
    if not as_json:
        console.out.print(table)
        console.err.print(f"{len(found)} dead letters")


@dlq.command("show")
def show(
    name: NameArgument,
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Print one dead letter whole, as JSON."""
    settings = reader_settings(addresses(StateDir(state_dir), kafka_bootstrap=bootstrap))

    async def main() -> None:
        letter = await letter_named(settings, name)
        sys.stdout.write(json.dumps(_as_dict(letter, await _done(settings)), indent=1) + "\n")

    console.run(main())


@dlq.command("send")
def send_letter(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, it only says what it would do.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.")] = "",
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Write a dead letter's message to the end of the partition that it came from, once.

    It is handled after all that came meanwhile, as if it were new; what its id was used for stays as it is. A second
    sending of the same letter is refused: that it was sent stands in runtime.operations, by the same transaction.
    """
    settings = reader_settings(addresses(StateDir(state_dir), kafka_bootstrap=bootstrap))

    async def main() -> None:
        letter = await letter_named(settings, name)
        if before := (await _done(settings)).get(operation_of(letter).key):
            raise console.CommandError(f"{name} was sent already, by {before.by}")
        where = f"{letter.place.topic}/{letter.place.number}"
        if not yes:
            console.err.print(
                escape(f"nothing was done; --yes writes it to {where}, where it stood at {letter.letter.offset}")
            )
            return
        async with operators_log(settings) as log:
            offset = await send(log, letter, reason)
        console.out.print(escape(f"{name} sent: {where} at {offset}"))

    console.run(main())


async def _done(settings: Settings) -> dict[str, Operation]:
    async with operators_log(settings) as log:
        return await done_before(log)


async def _found(settings: Settings, topic: str) -> tuple[list[KeptLetter], dict[str, Operation]]:
    topics = [topic_named(topic)] if topic else STAGE_INPUTS
    return await letters(settings, topics), await _done(settings)


def _as_dict(letter: KeptLetter, done: dict[str, Operation]) -> dict[str, Any]:
    def text(value: bytes | None) -> str | None:
        return None if value is None else value.decode("utf-8", "backslashreplace")

    sent = done.get(operation_of(letter).key)
    said = letter.letter
    return {
        "letter": letter.name,
        **said.model_dump(exclude={"value"}, exclude_none=True),
        "key": text(letter.key),
        "value": text(said.value),
        "headers": {name: text(value) for name, value in letter.headers},
        "sent_by": sent.by if sent else None,
    }
