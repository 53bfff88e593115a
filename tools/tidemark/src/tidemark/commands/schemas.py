"""``tidemark schemas``: the Avro schemas of the topics, and the registry where other teams find them."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from common.avro.derive import without_texts
from common.avro.export import derived
from common.avro.on_file import DIRECTORY, SchemaFile, read_index, subject_of
from rich.markup import escape
from rich.table import Table

from tidemark import console
from tidemark.schema_registry import Registry
from tidemark.schema_rules import compatibility_of, incompatibilities

schemas = typer.Typer(
    help="Avro schemas of the topics: list them, check them against every release, push them to a registry.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)
RegistryOption = Annotated[
    str, typer.Option("--registry", envvar="TIDEMARK_SCHEMA_REGISTRY_URL", help="Base URL of the registry's API.")
]
DirectoryOption = Annotated[Path, typer.Option("--directory", help="Where the schemas of all releases lie.")]
HERE: Final = DIRECTORY


@schemas.command("list")
def list_schemas(
    registry: RegistryOption = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")] = False,
    directory: DirectoryOption = HERE,
) -> None:
    """Print id, subject, version, file and rule of every schema; with a registry, whether it has it."""

    def rows() -> Iterator[dict[str, Any]]:
        there = Registry(registry) if registry else None
        for file in read_index(directory):
            row = asdict(file) | {"compatibility": compatibility_of(file.subject)}
            if there is not None:
                row["registered"] = file.id in there.versions(file.subject).values()
            yield row

    with console.reported():
        found = list(rows())
    if as_json:
        sys.stdout.writelines(json.dumps(row) + "\n" for row in found)
        return
    table = Table(*(found[0] if found else ()), box=None)
    for row in found:
        table.add_row(*(escape(str(value)) for value in row.values()))
    console.out.print(table)


@schemas.command("check")
def check(directory: DirectoryOption = HERE) -> None:
    """Hold the message classes, and every version on file, to every other version of their subject.

    Exit code 1, and a line for each, where a change is incompatible or is not on file.
    """
    with console.reported():
        problems = list(dict.fromkeys(_problems(directory)))  # one of dead letters would come for each topic
    for problem in problems:
        console.err.print(escape(problem), soft_wrap=True)
    if problems:
        raise typer.Exit(1)
    console.err.print(f"{len(read_index(directory))} schemas, each compatible with every version of its subject")


def _problems(directory: Path) -> Iterator[str]:
    index = read_index(directory)
    by_file = {file.file: file for file in index}
    for topic, (framing, schema) in derived().items():
        on_file = by_file.get(framing.file)
        if on_file is None or without_texts(on_file.schema(directory)) != without_texts(schema):
            differs = "is not what the file says: raise its version in the topic table, then"
            why = "is not on file:" if on_file is None else differs
            yield f"{subject_of(topic)}: {framing.file} {why} `make schemas`"
            yield from _against(schema, "the code", [f for f in index if f.subject == subject_of(topic)], directory)
    for file in index:
        older = [other for other in index if other.subject == file.subject and other.version < file.version]
        yield from _against(file.schema(directory), f"version {file.version}", older, directory)


def _against(schema: Any, what: str, older: list[SchemaFile], directory: Path) -> Iterator[str]:
    for other in older:
        for reason in incompatibilities(schema, other.schema(directory), compatibility_of(other.subject)):
            yield f"{other.subject}: {what} against version {other.version}: {reason}"


@schemas.command("push")
def push(registry: RegistryOption, directory: DirectoryOption = HERE) -> None:
    """Register every schema that the registry does not have, under the id on file; nothing is changed or removed."""
    with console.reported():
        pushed = list(Registry(registry).push(read_index(directory), directory))
    for file in pushed:
        console.out.print(f"{file.id} {file.subject} version {file.version}")
    console.err.print(f"{len(pushed)} schemas pushed to {escape(registry)}")
