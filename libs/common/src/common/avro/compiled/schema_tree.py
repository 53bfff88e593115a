"""An Avro schema as a tree of what the compiled codecs know (Avro 1.12 specification, "Schema Declaration").

Names are resolved, and logical types are taken for the types that they stand on: columns are plain integers and texts.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

Schema = Mapping[str, Any] | Sequence[Any] | str
"""As ``json.loads`` gives it."""


class SchemaUnsupported(ValueError):
    """The schema, or what is asked of it, is nothing that is compiled. Names the field."""


class Kind(StrEnum):
    """Types without others in them. Floats are not among them: nothing of which there are many has any."""

    LONG = "long"
    INT = "int"
    BOOLEAN = "boolean"
    ENUM = "enum"
    STRING = "string"
    BYTES = "bytes"
    FIXED = "fixed"


TEXTS: Final = frozenset({Kind.STRING, Kind.BYTES, Kind.FIXED})
"""Kinds whose values are pieces of a text; the others are integers."""
_PRIMITIVES: Final = frozenset(set(Kind) - {Kind.ENUM, Kind.FIXED})


@dataclass(frozen=True, slots=True)
class Scalar:
    kind: Kind
    symbols: tuple[str, ...] = ()
    """Symbols of an enum, in the order of their numbers."""
    size: int = 0
    """Bytes of a fixed."""


@dataclass(frozen=True, slots=True)
class Nullable:
    """A union of null and one other."""

    of: "Node"
    null_at: int

    @property
    def given_at(self) -> int:
        return 1 - self.null_at


@dataclass(frozen=True, slots=True)
class Record:
    fields: tuple[tuple[str, "Node"], ...]


@dataclass(frozen=True, slots=True)
class Items:
    """An array, or a map, whose items have a key."""

    item: "Node"
    keyed: bool


Node = Scalar | Nullable | Record | Items


@dataclass(frozen=True, slots=True)
class Message:
    """The record that a schema describes, and what stands before it."""

    record: Record
    branch: int | None
    """Number of the record in the union that the schema is; None where it is the record itself."""


def message_of(schema: Schema, branch: str | None = None) -> Message:
    """The tree of a record, or of the one named ``branch`` where the schema is a union. Raises SchemaUnsupported."""
    tree = _Tree()
    if isinstance(schema, str | Mapping):
        root = tree.node(schema, "", "")
        if branch is not None or not isinstance(root, Record):
            raise SchemaUnsupported("only a record, or a record of a union, is compiled as a message")
        return Message(root, None)
    names = [each.get("name", "").rpartition(".")[2] if isinstance(each, Mapping) else each for each in schema]
    roots = [tree.node(each, "", "") for each in schema]  # each of them: one may name what another defines
    if branch not in names:
        raise SchemaUnsupported(f"{branch!r} is none of the union's {', '.join(map(str, names))}")
    root = roots[names.index(branch)]
    if not isinstance(root, Record):
        raise SchemaUnsupported(f"{branch!r} is no record")
    return Message(root, names.index(branch))


class _Tree:
    def __init__(self) -> None:
        self._named: dict[str, Node | None] = {}
        """By full name; None while it is being read."""

    def node(self, schema: Schema, at: str, namespace: str) -> Node:
        if isinstance(schema, str):
            return self._by_name(schema, at, namespace)
        if not isinstance(schema, Mapping):
            return self._union(schema, at, namespace)
        kind = schema.get("type")
        match kind:
            case "record" | "enum" | "fixed":
                return self._definition(schema, at, namespace)
            case "array":
                return Items(self.node(schema["items"], at, namespace), keyed=False)
            case "map":
                return Items(self.node(schema["values"], at, namespace), keyed=True)
            case None:
                raise SchemaUnsupported(f"{at or 'the schema'}: it has no type")
            case _:
                return self.node(kind, at, namespace)

    def _by_name(self, name: str, at: str, namespace: str) -> Node:
        if name in _PRIMITIVES:
            return Scalar(Kind(name))
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        for known in (full, name):
            if known in self._named:
                node = self._named[known]
                if node is None:
                    raise SchemaUnsupported(f"{at}: {name} has itself in it")
                return node
        raise SchemaUnsupported(f"{at or 'the schema'}: {name!r} is not compiled")

    def _union(self, branches: Sequence[Any], at: str, namespace: str) -> Node:
        if len(branches) != 2 or branches.count("null") != 1:
            raise SchemaUnsupported(f"{at}: only a union of null and one other is compiled")
        null_at = branches.index("null")
        return Nullable(self.node(branches[1 - null_at], at, namespace), null_at)

    def _definition(self, schema: Mapping[str, Any], at: str, namespace: str) -> Node:
        name = schema["name"]
        space = name.rpartition(".")[0] if "." in name else schema.get("namespace", namespace)
        full = name if "." in name or not space else f"{space}.{name}"
        self._named[full] = None
        made: Node
        if schema["type"] == "enum":
            made = Scalar(Kind.ENUM, tuple(schema["symbols"]))
        elif schema["type"] == "fixed":
            made = Scalar(Kind.FIXED, size=int(schema["size"]))
        else:
            fields = schema["fields"]
            made = Record(tuple((f["name"], self.node(f["type"], under(at, f["name"]), space)) for f in fields))
        self._named[full] = made
        return made


def under(path: str, name: str) -> str:
    """The path of a field of what stands at ``path``."""
    return f"{path}.{name}" if path else name


def places(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """Each path of a message with what stands there; what stands in an array or a map belongs to that."""
    if isinstance(node, Record):
        for name, field in node.fields:
            yield from places(field, under(path, name))
        return
    yield path, node
    if isinstance(node, Nullable):
        yield from ((p, n) for p, n in places(node.of, path) if p != path or isinstance(n, Items))


def content_of(node: Node) -> Node:
    """The node that stands at a place if it is given: a nullable one without its null."""
    return node.of if isinstance(node, Nullable) else node


def fingerprint_of(schema: Schema, *declared: object) -> str:
    """Names compiled code: another for any change of the schema or of what is asked of it."""
    text = json.dumps(schema, sort_keys=True) + repr(declared)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
