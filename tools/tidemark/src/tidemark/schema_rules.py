"""Whether versions of a schema can read each other, by Avro's rules and Apache's own checker."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.errors import AvroException
from avro.schema import Schema, parse
from common.avro.on_file import subject_of
from common.contracts.topics import TOPICS
from streams.model.topics import Compatibility

FULL: Final[Compatibility] = "FULL_TRANSITIVE"
RULES: Final[Mapping[str, str]] = {
    "reader_field_missing_default_value": "a field that not every version has needs a default",
    "missing_enum_symbols": "a symbol that not every version knows needs a default of the enum",
    "missing_union_branch": "every version must know every member of a union",
    "type_mismatch": "a field keeps its type",
    "name_mismatch": "a type keeps its name",
    "fixed_size_mismatch": "a fixed value keeps its size",
}


class Incompatible(NamedTuple):
    """A part of a schema that one of two versions cannot read, and the rule that says so."""

    reads: str
    """``new reads old`` or ``old reads new``."""
    place: str
    rule: str
    said: str

    def __str__(self) -> str:
        return f"{self.place}: {self.rule} ({self.reads}: {self.said})"


def compatibility_of(subject: str) -> Compatibility:
    """The rule that the topic table holds the subject to; of topics that are no more, the strictest."""
    return next((topic.compatibility for topic in TOPICS if subject_of(topic.name) == subject), FULL)


def incompatibilities(new: Any, old: Any, compatibility: Compatibility = FULL) -> tuple[Incompatible, ...]:
    """Why the two may not both be versions of a subject that is held to ``compatibility``; empty: they may.

    Raises ValueError where one of them is no schema.
    """
    try:
        both = parse(json.dumps(new)), parse(json.dumps(old))
    except AvroException as error:
        raise ValueError(f"no Avro schema: {error}") from error
    found = [*_unread("new reads old", *both)]
    if compatibility == FULL:
        found += _unread("old reads new", *reversed(both))
    return tuple(dict.fromkeys(found))


def _unread(reads: str, reader: Schema, writer: Schema) -> Iterator[Incompatible]:
    for ours, theirs in _pairs(reader, writer):
        result = ReaderWriterCompatibilityChecker().get_compatibility(ours, theirs)  # type: ignore[no-untyped-call]
        if result.compatibility is SchemaCompatibilityType.compatible:
            continue
        places = sorted(place for place in result.locations if place != "/") or ["/"]
        place = _named(ours, places[-1])
        said = "; ".join(sorted(map(str, result.messages)))
        for kind in dict.fromkeys(each.value for each in result.incompatibilities):
            yield Incompatible(reads, place, RULES.get(kind, kind), said)


def _pairs(reader: Schema, writer: Schema) -> Iterator[tuple[Schema, Schema]]:
    """The members of two unions of records by their names, so that what is said names a field; else the two."""
    ours, theirs = (_records(schema) for schema in (reader, writer))
    if not ours or not theirs.keys() <= ours.keys():
        yield reader, writer
        return
    for name, record in theirs.items():
        yield ours[name], record


def _records(schema: Schema) -> Mapping[str, Schema]:
    members = getattr(schema, "schemas", ())
    return {member.fullname: member for member in members if member.type == "record"}


def _named(schema: Schema, place: str) -> str:
    """``OrderIntent.side`` for ``/fields/3/type``; as far as fields have a name."""
    names, at = [str(getattr(schema, "name", "schema"))], schema
    parts = iter(place.strip("/").split("/"))
    for part in parts:
        if part != "fields":
            at = _inner(at, part)
            continue
        number = next(parts, "")
        fields = getattr(at, "fields", ())
        if not number.isdigit() or int(number) >= len(fields):
            break
        names.append(fields[int(number)].name)
        at = fields[int(number)].type
    return ".".join(names)


def _inner(schema: Any, part: str) -> Any:
    steps: Mapping[str, Callable[[], Any]] = {"items": lambda: schema.items, "values": lambda: schema.values}
    if part.isdigit():
        members = getattr(schema, "schemas", ())
        return members[int(part)] if int(part) < len(members) else schema
    return steps.get(part, lambda: schema)()
