"""The schemas of every release, and their ids: files beside this module, which images carry, too.

An id is given once, to one schema, and never changes: a record that was written years ago names it. So the index grows
at its end. The ids are a range of their own, far above those that a registry gives by itself.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

DIRECTORY: Final = Path(__file__).with_name("schemas")
INDEX: Final = "ids.json"
FIRST_ID: Final = 0x544D0001
LAST_ID: Final = 0x544DFFFF
DEAD_LETTERS: Final = "tidemark.DeadLetter"
"""Subject of dead letters of every topic."""


@dataclass(frozen=True, slots=True)
class SchemaFile:
    """One version of what a topic's values are."""

    id: int
    subject: str
    version: int
    """Counts 1, 2, 3, … within the subject, as a registry does."""
    file: str

    def text(self, directory: Path = DIRECTORY) -> str:
        """The file's content."""
        return (directory / self.file).read_text("utf-8")

    def schema(self, directory: Path = DIRECTORY) -> Any:
        """The schema as JSON has it."""
        return json.loads(self.text(directory))


def read_index(directory: Path = DIRECTORY) -> tuple[SchemaFile, ...]:
    """In the order of their ids."""
    path = directory / INDEX
    rows = json.loads(path.read_text("utf-8")) if path.exists() else []
    return tuple(SchemaFile(**row) for row in rows)


@cache
def by_id() -> Mapping[int, SchemaFile]:
    """Every schema that this release knows without asking anybody."""
    return {file.id: file for file in read_index()}


@cache
def by_name() -> Mapping[str, SchemaFile]:
    """The same by the names of their files."""
    return {file.file: file for file in by_id().values()}


def subject_of(topic: str) -> str:
    """The subject of a topic's values, by Confluent's TopicNameStrategy; of dead letters, which are one message on many
    topics, by its RecordNameStrategy.
    """
    return DEAD_LETTERS if topic.endswith(".dlq") else f"{topic}-value"
