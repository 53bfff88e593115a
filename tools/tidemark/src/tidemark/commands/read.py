"""``tidemark read``."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated

import typer
from common.contracts.topics import Topic
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from streams.edges.reader import CommittedReader
from streams.model.message import Message
from streams.process.settings import Settings

from tidemark import console
from tidemark.options import DEFAULT_STATE, BootstrapOption, StateDirOption, addresses, reader_settings
from tidemark.state import StateDir
from tidemark.tabular import Format, decoder_of
from tidemark.topic_names import topic_named
from tidemark.writers import Writer, writer_for


def read(
    topic: Annotated[str, typer.Argument(help="Name of the topic, for instance md.bars or orders.intents.dlq.")],
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="From the first record kept; default: only what comes from now on.")
    ] = False,
    until_idle: Annotated[
        float | None,
        typer.Option("--until-idle", min=0.1, help="End when nothing came for so many seconds; default: never."),
    ] = None,
    to_end: Annotated[
        bool, typer.Option("--to-end", help="End where the topic ends now: for topics that are never idle.")
    ] = False,
    kind: Annotated[Format, typer.Option("--format", help="How rows are written.")] = Format.JSONL,
    out: Annotated[Path | None, typer.Option("--out", help="A file; default: standard output.")] = None,
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Print the committed records of a topic as rows; frames become one row per tick, book, bar or mark.

    Records of aborted and of open transactions are never shown. Prices are integers in 1e-4 currency units.
    """
    settings = reader_settings(addresses(StateDir(state_dir), kafka_bootstrap=bootstrap))
    console.run(_read(topic, from_beginning, to_end, until_idle, kind, out, settings))


@contextlib.contextmanager
def _sink(out: Path | None, kind: Format) -> Iterator[IO[bytes]]:
    if out is not None:
        try:
            with out.open("wb") as file:
                yield file
        except OSError as error:
            raise console.CommandError(f"cannot write {out}: {error.strerror}") from error
        return
    if kind is Format.PARQUET and sys.stdout.isatty():
        raise console.CommandError("Parquet is binary: give a file with --out, or redirect the output")
    yield sys.stdout.buffer


def _progress(quiet: bool) -> Progress:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console.err, transient=True, disable=quiet)


async def _read(
    name: str,
    from_beginning: bool,
    to_end: bool,
    until_idle_s: float | None,
    kind: Format,
    out: Path | None,
    settings: Settings,
) -> None:
    topic = topic_named(name)
    quiet = out is None and sys.stdout.isatty()
    with _sink(out, kind) as file, _progress(quiet) as progress:
        writer = writer_for(kind, decoder_of(topic), file)
        rows = 0
        try:
            async with CommittedReader(settings, [topic], from_beginning=from_beginning, client_id="read") as reader:
                start, ends = sum(reader.positions.values()), await reader.ends()
                bar = progress.add_task(f"{topic.name} offsets", total=sum(ends.values()) - start)
                async for messages in reader.batches_until(ends) if to_end else reader.batches(until_idle_s):
                    rows += _write(writer, topic, list(messages))
                    progress.update(bar, completed=sum(reader.positions.values()) - start)
        finally:
            writer.close()
    if not quiet:
        console.err.print(f"{rows} rows of {topic.name}")


def _write(writer: Writer, topic: Topic, messages: list[Message]) -> int:
    """Writes what can be decoded; what cannot is named on standard error and left out."""
    sound = []
    for message in messages:
        try:
            _ = message.body if message.value is not None else None
        except ValueError as error:
            where = f"{topic.name} partition {message.partition} offset {message.offset}"
            console.err.print(f"[yellow]not decodable:[/] {where}: {str(error).splitlines()[0]}")
        else:
            if message.value is not None or topic.schema.model is None:
                sound.append(message)
    return writer.write(sound)
