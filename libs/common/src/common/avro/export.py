"""Writes the Avro schemas of the topic table, one file per version, and gives each new one its id.

    uv run python -m common.avro.export

A file never changes: records name it by its id for as long as they are kept. A message that changed needs its version
raised in the topic table, and the new schema has to be compatible with every older one (``tidemark schemas check``).
Texts alone change nothing: they stay as the file has them until the next version.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from streams.model.topics import Topic

from common.avro.codec import AvroFraming
from common.avro.derive import schema_of, without_texts
from common.avro.on_file import DIRECTORY, FIRST_ID, INDEX, LAST_ID, SchemaFile, read_index, subject_of
from common.avro.rows import schema_of_rows
from common.contracts.readings import READINGS
from common.contracts.topics import TOPICS, with_dead_letters


class ChangedSchemaError(ValueError):
    """A message changed, and its version did not."""


def derived(topics: Iterable[Topic] = with_dead_letters(TOPICS)) -> dict[str, tuple[AvroFraming, Any]]:
    """Topic → its framing, and the schema that its message class has now."""
    framings = {topic.name: topic.schema.framing for topic in topics}
    return {
        name: (framing, _schema_of(framing)) for name, framing in framings.items() if isinstance(framing, AvroFraming)
    }


def _schema_of(framing: AvroFraming) -> Any:
    if isinstance(framing.message, np.dtype):
        return schema_of_rows(framing.name.capitalize(), framing.message)
    return schema_of(framing.message, READINGS)


def text_of(schema: Any) -> str:
    """A file's content."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def export(directory: Path = DIRECTORY) -> list[Path]:
    """Writes what is new and returns it. Raises ChangedSchemaError before anything is written: where a message changed
    and its version did not, or the other way round. A registry gives one content one id.
    """
    index = {file.file: file for file in read_index(directory)}
    current = derived()
    changed = [
        framing.file
        for framing, schema in current.values()
        if framing.file in index and without_texts(index[framing.file].schema(directory)) != without_texts(schema)
    ]
    if changed:
        raise ChangedSchemaError("raise the version in the topic table, or keep the message: " + ", ".join(changed))
    contents = {json.dumps(without_texts(file.schema(directory))): file.file for file in index.values()}
    same = [
        f"{framing.file} is {of}: avro={of.rpartition('.v')[2].removesuffix('.avsc')}"
        for framing, schema in current.values()
        if framing.file not in index and (of := contents.get(json.dumps(without_texts(schema))))
    ]
    if same:
        raise ChangedSchemaError("nothing changed in Avro; say so in the topic table: " + ", ".join(same))
    written = []
    directory.mkdir(parents=True, exist_ok=True)
    for topic, (framing, schema) in current.items():
        if framing.file not in index:
            index[framing.file] = _next(index.values(), subject_of(topic), framing.file)
            written.append(directory / framing.file)
            written[-1].write_text(text_of(schema), "utf-8")
    if written:
        rows = [asdict(file) for file in index.values()]
        lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
        (directory / INDEX).write_text(f"[\n{lines}\n]\n", "utf-8")
    return written


def _next(files: Iterable[SchemaFile], subject: str, name: str) -> SchemaFile:
    first = SchemaFile(FIRST_ID, subject, 1, name)
    given = list(files)
    if not given:
        return first
    versions = [file.version for file in given if file.subject == subject]
    new = replace(first, id=max(file.id for file in given) + 1, version=max(versions, default=0) + 1)
    if new.id >= LAST_ID:
        raise ChangedSchemaError(f"no id is left up to {LAST_ID}")
    return new


def main() -> int:
    """Exports; the exit status is 1 where a message changed under its version."""
    try:
        written = export()
    except ChangedSchemaError as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    for file in written:
        sys.stdout.write(f"wrote {file.name}\n")
    sys.stdout.write(f"{len(read_index())} Avro schemas, {len(written)} new\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
