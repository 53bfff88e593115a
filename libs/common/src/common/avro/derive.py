"""An Avro schema from a message class, so that a message is declared once.

| Python | Avro |
|---|---|
| a pydantic model | record, its fields in their order |
| ``int``, whatever its bounds | long; a name that ends in ``_ns`` or ``_e4`` gives the field the property ``unit`` |
| a ``StrEnum`` | enum; with the default that ``readings`` names, where an unknown symbol may be read as something |
| a ``StrEnum`` that reads values it does not list | string |
| ``Literal["x"]`` | an enum of one symbol, which takes one byte and tells records of a union apart |
| ``X | None`` | union, null first |
| ``dict[str, X]``, ``tuple[X, ...]`` | map, array |
| a union of models | union |

A field that JSON may leave out has its default in Avro, too.
"""

import re
from collections.abc import Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

NAMESPACE: Final = "tidemark"
AvroSchema = dict[str, Any] | list[Any] | str
_SYMBOL: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PRIMITIVES: Final[Mapping[Any, str]] = {bool: "boolean", int: "long", str: "string", bytes: "bytes"}
_UNITS: Final = ("ns", "e4")


class UnderivableError(TypeError):
    """A class that no Avro schema can be made of."""


def schema_of(message: Any, readings: Mapping[type[Enum], Enum]) -> AvroSchema:
    """The whole schema of a class, or of a union of classes; named types are written out where they come first.

    ``readings``: enum → what an old reader takes a symbol for that it does not know. An enum that is not in it is
    closed: a value with such a symbol cannot be read. Raises UnderivableError.
    """
    return _Derivation(readings).type_of(message, "")


class _Derivation:
    """One document: what was written out before is referred to by its name."""

    def __init__(self, readings: Mapping[type[Enum], Enum]) -> None:
        self._readings = readings
        self._written: dict[str, Any] = {}

    def type_of(self, annotation: Any, place: str) -> AvroSchema:
        """``place`` names what has no name of its own."""
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return self.type_of(arguments[0], place)
        if origin in (Union, UnionType):
            return self._union(arguments, place)
        if origin is Literal:
            return self._enum(f"{place}", [str(symbol) for symbol in arguments], None)
        if origin is dict and arguments[0] is str:
            return {"type": "map", "values": self.type_of(arguments[1], place)}
        if origin in (tuple, list):
            return {"type": "array", "items": self.type_of(arguments[0], place)}
        if annotation in _PRIMITIVES:
            return str(_PRIMITIVES[annotation])
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return self._record(annotation)
        if isinstance(annotation, type) and issubclass(annotation, Enum):
            if _reads_others(annotation):
                return "string"
            reading = self._readings.get(annotation)
            symbols = [str(member.value) for member in annotation]
            return self._enum(annotation.__name__, symbols, None if reading is None else str(reading.value))
        raise UnderivableError(f"{place}: {annotation!r} has no Avro type")

    def _union(self, members: tuple[Any, ...], place: str) -> AvroSchema:
        others = [self.type_of(member, place) for member in members if member is not NoneType]
        return ["null", *others] if NoneType in members else others

    def _enum(self, name: str, symbols: list[str], default: str | None) -> AvroSchema:
        if wrong := [symbol for symbol in symbols if not _SYMBOL.fullmatch(symbol)]:
            raise UnderivableError(f"{name}: {wrong} are no Avro symbols")
        document: dict[str, Any] = {"type": "enum", "name": name, "namespace": NAMESPACE, "symbols": symbols}
        if default is not None:
            document["default"] = default
        return self._once(name, document)

    def _record(self, model: type[BaseModel]) -> AvroSchema:
        name = model.__name__
        if name in self._written:
            return f"{NAMESPACE}.{name}"
        document: dict[str, Any] = {"type": "record", "name": name, "namespace": NAMESPACE}
        if model.__doc__:
            document["doc"] = " ".join(model.__doc__.split("\n\n")[0].split())
        self._written[name] = document
        document["fields"] = [self._field(name, key, field) for key, field in model.model_fields.items()]
        return document

    def _field(self, record: str, name: str, field: FieldInfo) -> dict[str, Any]:
        place = f"{record}{''.join(part.capitalize() for part in name.split('_'))}"
        document: dict[str, Any] = {"name": name, "type": self.type_of(field.annotation, place)}
        if field.description:
            document["doc"] = field.description
        if (unit := name.rpartition("_")[2]) in _UNITS:
            document["unit"] = unit
        if not field.is_required():
            document["default"] = _json_value(field.get_default(call_default_factory=True))
        return document

    def _once(self, name: str, document: dict[str, Any]) -> AvroSchema:
        if name not in self._written:
            self._written[name] = document
            return document
        if self._written[name] != document:
            raise UnderivableError(f"two types are called {name}")
        return f"{NAMESPACE}.{name}"


def _reads_others(enum: type[Enum]) -> bool:
    """Whether values are read that it does not list."""
    try:
        enum("ANY_OTHER")
    except ValueError:
        return False
    return True


def _json_value(default: Any) -> Any:
    if isinstance(default, Enum):
        return str(default.value)
    return list(default) if isinstance(default, tuple) else default


def without_texts(schema: Any) -> Any:
    """The schema without what no reader's or writer's program looks at."""
    if isinstance(schema, dict):
        return {key: without_texts(value) for key, value in schema.items() if key != "doc" or not _is_text(schema)}
    return [without_texts(each) for each in schema] if isinstance(schema, list) else schema


def _is_text(schema: Mapping[str, Any]) -> bool:
    return "type" in schema and isinstance(schema.get("doc"), str)
