"""``tidemark read``."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Annotated

import typer
from common.contracts.topics import DEAD_LETTERS, Topic
from common.sinks import SinkKind, SinkUnavailable
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from streams.edges.reader import CommittedReader
from streams.model.message import Message
from streams.process.settings import Settings

from tidemark import console
from tidemark.options import DEFAULT_STATE, BootstrapOption, KeyringOption, StateDirOption, addresses, reader_settings
from tidemark.personal.keyring import Keyring
from tidemark.personal.masking import Masks, masked_decoder_of
from tidemark.sinks import SinkWriter, chosen_sink
from tidemark.state import StateDir
from tidemark.tabular import Decoder, Format, body_of, decoder_of
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
    sink: Annotated[
        str, typer.Option("--sink", help="Name of an installed sink instead of a file; it goes on where it ended.")
    ] = "",
    option: Annotated[
        list[str] | None, typer.Option("--option", help="With --sink: name=value. May be repeated.")
    ] = None,
    keyring: KeyringOption = None,
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Print the committed records of a topic as rows; frames become one row per tick, book, bar or mark.

    Records of aborted and of open transactions are never shown. Prices are integers in 1e-4 currency units.

    With a keyring rows have pseudonyms for accounts, and sealed texts for what people chose or wrote.
    """
    settings = reader_settings(addresses(StateDir(state_dir), kafka_bootstrap=bootstrap))
    decodes = partial(masked_decoder_of, masks=Masks(Keyring(keyring))) if keyring else decoder_of
    if sink:
        with console.reported():
            chosen, given = chosen_sink(sink, option or ())
        from_beginning = True  # the sink's own positions say what of it is new
        opened: Opening = partial(_installed, decodes, chosen, given)
    else:
        opened = partial(_written, decodes, kind, out)
    quiet = out is None and not sink and sys.stdout.isatty()
    console.run(_read(topic, from_beginning, to_end, until_idle, opened, quiet, settings))


Decodes = Callable[[Topic], Decoder]
Opening = Callable[[Topic], contextlib.AbstractContextManager[Writer]]


@contextlib.contextmanager
def _written(decodes: Decodes, kind: Format, out: Path | None, topic: Topic) -> Iterator[Writer]:
    with _file(out, kind) as file, contextlib.closing(writer_for(kind, decodes(topic), file)) as writer:
        yield writer


@contextlib.contextmanager
def _installed(decodes: Decodes, kind: SinkKind, options: Mapping[str, str], topic: Topic) -> Iterator[Writer]:
    try:
        with contextlib.closing(SinkWriter(decodes(topic), kind.open(topic.name, options))) as writer:
            yield writer
    except SinkUnavailable as error:
        raise console.CommandError(f"--sink {kind.name}: {error}") from error


@contextlib.contextmanager
def _file(out: Path | None, kind: Format) -> Iterator[IO[bytes]]:
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
    opened: Opening,
    quiet: bool,
    settings: Settings,
) -> None:
    topic = topic_named(name)
    with opened(topic) as writer, _progress(quiet) as progress:
        rows = 0
        async with CommittedReader(settings, [topic], from_beginning=from_beginning, client_id="read") as reader:
            start, ends = sum(reader.positions.values()), await reader.ends()
            bar = progress.add_task(f"{topic.name} offsets", total=sum(ends.values()) - start)
            async for messages in reader.batches_until(ends) if to_end else reader.batches(until_idle_s):
                rows += _write(writer, topic, list(messages))
                progress.update(bar, completed=sum(reader.positions.values()) - start)
    if not quiet:
        console.err.print(f"{rows} rows of {topic.name}")


def _write(writer: Writer, topic: Topic, messages: list[Message]) -> int:
    """Writes what can be decoded; what cannot is named on standard error and left out."""
    sound = []
    is_letter = topic.schema is DEAD_LETTERS  # the context of one in the text form is in its headers
    for message in messages:
        try:
            _ = body_of(message) if message.value is not None or is_letter else None
        except ValueError as error:
            where = f"{topic.name} partition {message.partition} offset {message.offset}"
            console.err.print(f"[yellow]not decodable:[/] {where}: {str(error).splitlines()[0]}")
        else:
            if message.value is not None or is_letter or topic.schema.model is None:
                sound.append(message)
    return writer.write(sound)
