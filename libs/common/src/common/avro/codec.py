"""The general codec of a topic's values: any compatible writer's record as this release's JSON, and JSON as Avro.

fastavro resolves the writer's schema to the reader's: what a newer writer added is dropped, what an older one did not
have gets its default, an unknown symbol becomes the enum's default. JSON is what handlers see, byte for byte as the
topic's own schema would write it: fields in their order, absent ones left out.
"""

import io
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import fastavro
import msgspec
import numpy as np
from fastavro.read import SchemaResolutionError
from fastavro.schema import SchemaParseException
from streams.model.framing import HEADER_BYTES, NewerSchema, SchemaUnknown, frame, schema_id_of
from streams.process.settings import Settings

from common.avro.on_file import by_id, by_name
from common.avro.registry import SCHEMAS, Schemas
from common.avro.rows import datum_of, row_of

WRITERS_MAX: Final = 1_000
"""Writers' schemas that are kept parsed for a topic."""
_to_json: Final = msgspec.json.Encoder().encode
_from_json: Final = msgspec.json.Decoder().decode
Shape = Callable[[Any], Any]


class AvroFraming:
    """See ``streams.model.framing.Framing``. Nothing is read from disk before the first framed value.

    ``message``: the class of the values, or a union of classes, or the layout of rows; ``packed``: as text, several
    rows are one value. Read and written is the schema on file of that name and version, or what ``given`` says: a
    schema, and the id to write it under.
    """

    def __init__(
        self,
        name: str,
        version: int,
        message: Any,
        schemas: Schemas = SCHEMAS,
        given: tuple[Any, int] | None = None,
        *,
        packed: bool = False,
    ) -> None:
        self.name, self.version, self.message, self.packed = name, version, message, packed
        self._schemas = schemas
        self._given = given
        self._codec: Codec | None = None
        self._writers: dict[int, Any] = {}

    @property
    def codec(self) -> "Codec":
        """How this release writes. Raises ValueError where its schema is not on file."""
        return self._codec or self._load()

    @property
    def file(self) -> str:
        """Name of the file with its schema."""
        return f"{self.name}.v{self.version}.avsc"

    def text(self, value: bytes) -> bytes:
        """A framed value as JSON. Raises SchemaUnknown; ValueError where it is damaged or another topic's."""
        schema_id = schema_id_of(value)
        writer = self._writers.get(schema_id)
        if writer is None:
            writer = self._writer(schema_id)
        codec = self.codec
        body = io.BytesIO(value)
        body.seek(HEADER_BYTES)
        try:
            datum = fastavro.schemaless_reader(body, writer, codec.parsed)
        except SchemaResolutionError as error:
            raise self._unreadable(schema_id, writer, error) from error
        except Exception as error:  # fastavro raises whatever the bytes bring it to
            raise ValueError(f"no record of schema {schema_id}: {error!r}") from error
        if body.tell() != len(value):
            raise ValueError(f"{len(value) - body.tell()} bytes follow the record of schema {schema_id}")
        return codec.text(datum)

    def framed(self, text: bytes) -> bytes:
        """JSON of the topic as this release writes it. Raises ValueError where it is none."""
        codec = self.codec
        body = io.BytesIO()
        try:
            fastavro.schemaless_writer(body, codec.parsed, codec.datum(text))
        except (TypeError, AttributeError, OverflowError, KeyError) as error:
            raise ValueError(f"no {self.name}: {error!r}") from error
        return frame(codec.id, body.getvalue())

    def records(self, key: bytes, text: bytes) -> Sequence[tuple[bytes, bytes]]:
        """JSON is one record. Each row is one, under its symbol where several are packed under another key."""
        if not isinstance(self.message, np.dtype):
            return ((key, self.framed(text)),)
        rows = np.frombuffer(text, self.message)
        return [(row["symbol"].item() if self.packed else key, self.framed(row.tobytes())) for row in rows]

    async def learn(self, schema_id: int, settings: Settings) -> None:
        """Raises SchemaUnknown where neither the cache nor the registry have it."""
        await self._schemas.learn(schema_id, settings)

    def _load(self) -> "Codec":
        if self._given is None:
            file = by_name().get(self.file)
            if file is None:
                raise ValueError(f"{self.file} is not on file: make schemas")
            self._given = file.schema(), file.id
        self._codec = _codec_of(self.message, *self._given)
        return self._codec

    def _writer(self, schema_id: int) -> Any:
        """Raises SchemaUnknown."""
        file = by_id().get(schema_id)
        schema = file.schema() if file else self._schemas.known(schema_id)
        if schema is None:
            raise SchemaUnknown(schema_id, "not on file")
        try:
            writer = fastavro.parse_schema(schema)
        except (SchemaParseException, TypeError, KeyError) as error:
            raise SchemaUnknown(schema_id, f"what is there is no Avro schema: {error!r}") from error
        if len(self._writers) >= WRITERS_MAX:
            self._writers.clear()
        self._writers[schema_id] = writer
        return writer

    def _unreadable(self, schema_id: int, writer: Any, error: Exception) -> Exception:
        """A newer version of what this topic holds is waited for; of anything else the record is none."""
        ours, theirs = records_of(self.codec.schema), records_of(writer)
        if not ours & theirs:
            return ValueError(f"schema {schema_id} is of {', '.join(sorted(theirs)) or 'no record'}: {error}")
        return NewerSchema(schema_id, f"says what this release cannot read: {error}")


class Codec(NamedTuple):
    """A reader's schema, and what is made of it once."""

    id: int
    schema: Any
    parsed: Any
    text: Callable[[Any], bytes]
    """A resolved datum → text."""
    datum: Callable[[bytes], Any]
    """Text → what fastavro writes. Raises ValueError."""
    branch: Shape
    """A JSON object → the same, with the name of its record where it may be several. Raises ValueError."""


def _codec_of(message: Any, schema: Any, schema_id: int) -> Codec:
    parsed = fastavro.parse_schema(schema)
    if isinstance(message, np.dtype):
        to_datum, layout = datum_of(message), message
        return Codec(
            schema_id, schema, parsed, row_of(layout), lambda text: to_datum(np.frombuffer(text, layout)[0]), _same
        )
    shape, branch, binary = _shape_of(schema, {}), _branches_of(schema), _binary_of(schema)

    def named(datum: Any) -> Any:
        return binary(branch(datum))

    return Codec(
        schema_id, schema, parsed, lambda datum: _to_json(shape(datum)), lambda text: named(_from_json(text)), named
    )


def records_of(schema: Any) -> set[str]:
    """Full names of the records that a value may be."""
    if isinstance(schema, list):
        return {name for each in schema for name in records_of(each)}
    if isinstance(schema, dict) and schema.get("type") == "record":
        name = str(schema["name"])
        return {name if "." in name or not schema.get("namespace") else f"{schema['namespace']}.{name}"}
    return set()


def _same(value: Any) -> Any:
    return value


def _shape_of(schema: Any, named: dict[str, Any]) -> Shape:
    """Makes of a resolved datum what JSON has: fields in the reader's order, those that are null left out."""
    if isinstance(schema, str):
        known: Shape = named.get(schema, _same)
        return known
    if isinstance(schema, list):
        return _union_shape([(each, _shape_of(each, named)) for each in schema if each != "null"])
    kind = schema["type"]
    if kind == "array":
        item = _shape_of(schema["items"], named)
        return _same if item is _same else lambda values: [item(value) for value in values]
    if kind == "map":
        item = _shape_of(schema["values"], named)
        return _same if item is _same else lambda values: {key: item(value) for key, value in values.items()}
    if kind != "record":
        return _same
    fields = [(field["name"], _shape_of(field["type"], named)) for field in schema["fields"]]

    def record(datum: Mapping[str, Any]) -> dict[str, Any]:
        return {name: shape(value) for name, shape in fields if (value := datum[name]) is not None}

    named[f"{schema['namespace']}.{schema['name']}"] = record
    return record


def _union_shape(members: list[tuple[Any, Shape]]) -> Shape:
    shapes = [shape for _, shape in members]
    if len(shapes) == 1 or all(shape is _same for shape in shapes):
        return shapes[0] if len(shapes) == 1 else _same
    by_fields = {frozenset(field["name"] for field in schema["fields"]): shape for schema, shape in members}
    return lambda datum: by_fields[frozenset(datum)](datum)


def _branches_of(schema: Any) -> Shape:
    """Says which record of a union a JSON object is: its constants tell, else the one without constants."""
    if not isinstance(schema, list):
        return _same
    records = sorted(schema, key=lambda record: not _constants(record))
    names = [(f"{record['namespace']}.{record['name']}", _constants(record)) for record in records]

    def branch(datum: Any) -> tuple[str, Any]:
        for name, constants in names:
            if all(datum.get(field) == symbol for field, symbol in constants.items()):
                return name, datum
        raise ValueError(f"no record of the union: {names}")

    return branch


def _binary_of(schema: Any) -> Shape:
    """Makes bytes of what JSON has in base64: fields of the outermost record."""
    fields = schema["fields"] if isinstance(schema, dict) else ()
    names = [field["name"] for field in fields if field["type"] in ("bytes", ["null", "bytes"])]
    if not names:
        return _same

    def datum(value: dict[str, Any]) -> dict[str, Any]:
        return value | {name: b64decode(value[name], validate=True) for name in names if name in value}

    return datum


def _constants(record: Mapping[str, Any]) -> dict[str, str]:
    return {
        field["name"]: field["type"]["symbols"][0]
        for field in record["fields"]
        if isinstance(field["type"], dict) and field["type"]["type"] == "enum" and len(field["type"]["symbols"]) == 1
    }
