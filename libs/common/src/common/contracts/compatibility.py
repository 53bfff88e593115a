"""Whether what one version of a contract writes can be read by another: a pure comparison of JSON Schemas.

The question is always ``breaks(written, read)``: which values allowed by the one schema may the other refuse? Backward
compatibility asks it with (old, new), forward compatibility with (new, old). The answer errs on the safe side: a
difference in a keyword that is not understood is a break. A pattern is read by any that allows every text of it
(``patterns``). Covers what pydantic emits (JSON Schema 2020-12).

One convention beside the standard: a writer writes the fields it names and no others, also where the object is open.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from common.contracts.patterns import refused

JsonSchema = Mapping[str, Any]

_ANNOTATIONS: Final = frozenset({"title", "description", "examples", "default", "discriminator", "$defs", "$schema"})
_UNIONS: Final = ("anyOf", "oneOf")
_LOWER_BOUNDS: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_UPPER_BOUNDS: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
_EXACT: Final = ("pattern", "format", "uniqueItems", "multipleOf", "propertyNames")
_STRUCTURE: Final = ("type", "enum", "const", "properties", "required", "additionalProperties", "items", "prefixItems")
_UNDERSTOOD: Final = _ANNOTATIONS.union(_UNIONS, _LOWER_BOUNDS, _UPPER_BOUNDS, _EXACT, _STRUCTURE, {"$ref"})


def breaks(written: JsonSchema, read: JsonSchema) -> tuple[str, ...]:
    """Reasons, each with the place, why a value allowed by ``written`` may be refused or misread by ``read``.

    Empty: every such value is read. Both are whole documents, whose ``$ref`` point into their own ``$defs``.
    """
    return tuple(dict.fromkeys(_Comparison(written, read).schemas(written, read, "$")))


def layout_changes(old: JsonSchema, new: JsonSchema) -> tuple[str, ...]:
    """Differences between two descriptions of a binary layout; any of them makes bytes unreadable."""
    found = [
        f"$: {key} was {old.get(key)}, is {new.get(key)}"
        for key in ("size", "byteorder")
        if old.get(key) != new.get(key)
    ]
    fields_old = {field["name"]: field for field in old["fields"]}
    fields_new = {field["name"]: field for field in new["fields"]}
    for name in sorted(fields_old.keys() | fields_new.keys()):
        was, now = fields_old.get(name), fields_new.get(name)
        if was != now:
            found.append(f"$.{name}: was {was}, is {now}")
    return tuple(found)


def row_changes(old: JsonSchema, new: JsonSchema) -> tuple[str, ...]:
    """Why rows of two descriptions, by table, are not each read by the other's reader; see ``streams.opening.layout``.

    Either JSON Schemas, or of arrays: those grow at the end, by fields with a default. A new table begins empty.
    """
    found: list[str] = []
    for table, was in sorted(old.items()):
        now = new.get(table)
        if now is None:
            found.append(f"{table}: the table is gone, its rows are not")
        elif "fields" in was:
            found.extend(_array_changes(was, now, table))
        else:
            found.extend(f"{table}, old rows: {reason}" for reason in breaks(was, now))
            found.extend(f"{table}, old readers: {reason}" for reason in breaks(now, was))
    return tuple(found)


def _array_changes(was: Any, now: Any, at: str) -> Iterator[str]:
    if isinstance(was, Mapping) and isinstance(now, Mapping) and "fields" in was and "fields" in now:
        if was["array"] != now["array"]:
            yield f"{at}: was {'an array' if was['array'] else 'an object'}"
        for number, field in enumerate(was["fields"]):
            if number >= len(now["fields"]):
                yield f"{at}: field {field['name']} is gone"
            else:
                yield from _array_changes(field, now["fields"][number], f"{at}.{field['name']}")
        for field in now["fields"][len(was["fields"]) :]:
            if "default" not in field:
                yield f"{at}: field {field['name']} is new and has no default"
    elif isinstance(was, Mapping) and isinstance(now, Mapping) and was.keys() == now.keys():
        for key in was:
            yield from _array_changes(was[key], now[key], at)
    elif was != now:
        yield f"{at}: was {was}, is {now}"


class _Comparison:
    """One walk over two documents. A pair of schemas that is already being compared (recursion) is taken to agree."""

    def __init__(self, written: JsonSchema, read: JsonSchema) -> None:
        self._written_defs: JsonSchema = written.get("$defs", {})
        self._read_defs: JsonSchema = read.get("$defs", {})
        self._comparing: set[tuple[int, int]] = set()

    def schemas(self, written: JsonSchema, read: JsonSchema, at: str) -> Iterator[str]:
        if written.get("default") != read.get("default") and "default" in written and "default" in read:
            yield f"{at}: the default was {written['default']!r} where it is read as {read['default']!r}"
        for branch in _alternatives(written, self._written_defs):
            yield from self._alternative(branch, _alternatives(read, self._read_defs), at)

    def _alternative(self, written: JsonSchema, candidates: Sequence[JsonSchema], at: str) -> Iterator[str]:
        """One alternative of what is written must be read by one alternative of what is read."""
        attempts = [list(self._single(written, candidate, at)) for candidate in candidates]
        if not all(attempts):
            return
        named = [
            attempt
            for attempt, candidate in zip(attempts, candidates, strict=True)
            if _tag(candidate) == _tag(written) and candidate.get("type") == written.get("type")
        ]
        if len(named) == 1:
            yield from named[0]
        elif len(attempts) == 1:
            yield from attempts[0]
        else:
            yield f"{at}: no alternative reads {_describe(written)}"

    def _single(self, written: JsonSchema, read: JsonSchema, at: str) -> Iterator[str]:
        """Two schemas without alternatives at the top."""
        pair = (id(written), id(read))
        if pair in self._comparing:
            return
        self._comparing.add(pair)
        yield from self._keywords(written, read, at)
        self._comparing.discard(pair)

    def _keywords(self, written: JsonSchema, read: JsonSchema, at: str) -> Iterator[str]:
        for key in sorted((written.keys() | read.keys()) - _UNDERSTOOD):
            if written.get(key) != read.get(key):
                yield f"{at}: {key} differs, and this comparison does not know what that means"
        values = _values(written)
        if values is not None:
            yield from (f"{at}: {value!r} is refused" for value in values if not _accepts(read, value))
            return
        if _values(read) is not None:
            yield f"{at}: {_describe(written)} is written, only {_values(read)} are read"
            return
        if not _type_fits(written.get("type"), read.get("type")):
            yield f"{at}: {_describe(written)} is written, {_describe(read)} is read"
            return
        yield from _narrowed(written, read, at)
        if written.get("type") == "array":
            yield from self._arrays(written, read, at)
        if written.get("type") == "object":
            yield from self._objects(written, read, at)

    def _arrays(self, written: JsonSchema, read: JsonSchema, at: str) -> Iterator[str]:
        written_first, read_first = written.get("prefixItems", []), read.get("prefixItems", [])
        for index in range(max(len(written_first), len(read_first))):
            element = written_first[index] if index < len(written_first) else written.get("items", {})
            reader = read_first[index] if index < len(read_first) else read.get("items", {})
            yield from self.schemas(element, reader, f"{at}[{index}]")
        if written.get("maxItems", len(written_first) + 1) > len(written_first):
            yield from self.schemas(written.get("items", {}), read.get("items", {}), f"{at}[]")

    def _objects(self, written: JsonSchema, read: JsonSchema, at: str) -> Iterator[str]:
        fields, known = written.get("properties", {}), read.get("properties", {})
        others = read.get("additionalProperties", True)
        always = set(written.get("required", ()))
        for name, field in fields.items():
            if name in known:
                yield from self.schemas(field, known[name], f"{at}.{name}")
            elif others is False:
                yield f"{at}.{name}: is written, but the reader refuses fields it does not know"
            elif others is not True:
                yield from self.schemas(field, others, f"{at}.{name}")
        for name in read.get("required", ()):
            if name not in always:
                yield f"{at}.{name}: is required by the reader, but not always written"
        yield from self._open_fields(written, read, at)

    def _open_fields(self, written: JsonSchema, read: JsonSchema, at: str) -> Iterator[str]:
        """Maps: objects whose field names are data."""
        values = written.get("additionalProperties", not written.get("properties"))
        others = read.get("additionalProperties", True)
        if values is False or (values is True and written.get("properties")) or others is True:
            return
        if others is False:
            yield f"{at}.*: fields of any name are written, but the reader refuses those it does not know"
        else:
            yield from self.schemas({} if values is True else values, others, f"{at}.*")


def _alternatives(schema: JsonSchema, definitions: JsonSchema) -> tuple[JsonSchema, ...]:
    """The schema as a flat list of alternatives, references followed.

    Keywords beside a reference are annotations of the place, compared before.
    """
    if "$ref" in schema:
        return _alternatives(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    for union in _UNIONS:
        if union in schema:
            return tuple(one for branch in schema[union] for one in _alternatives(branch, definitions))
    if isinstance(schema.get("type"), list):
        return tuple({**schema, "type": one} for one in schema["type"])
    return (schema,)


def _values(schema: JsonSchema) -> list[Any] | None:
    """The closed list of values, where the schema is one."""
    if "const" in schema:
        return [schema["const"]]
    return list(schema["enum"]) if "enum" in schema else None


def _tag(schema: JsonSchema) -> Any:
    """The field that tells members of a discriminated union apart: the first that is a constant."""
    return next((field["const"] for field in schema.get("properties", {}).values() if "const" in field), None)


def _describe(schema: JsonSchema) -> str:
    kind = schema.get("type", "any value")
    return str(_tag(schema) or (schema.get("title", kind) if kind == "object" else kind))


_JSON_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def _accepts(read: JsonSchema, value: Any) -> bool:
    """Whether a scalar from a closed list is read. A bounded reader that is no list itself counts as a refusal."""
    allowed = _values(read)
    if allowed is not None:
        return any(type(value) is type(one) and value == one for one in allowed)
    kind = read.get("type")
    if kind is None:
        return not (read.keys() - _ANNOTATIONS)
    constrained = any(key in read for key in (*_LOWER_BOUNDS, *_UPPER_BOUNDS, *_EXACT))
    boolean_fits = kind == "boolean" or not isinstance(value, bool)
    return not constrained and boolean_fits and isinstance(value, _JSON_TYPES.get(kind, ()))


def _type_fits(written: Any, read: Any) -> bool:
    return read is None or written == read or (written == "integer" and read == "number")


def _narrowed(written: JsonSchema, read: JsonSchema, at: str) -> Iterator[str]:
    for key in _LOWER_BOUNDS:
        if key in read and (key not in written or written[key] < read[key]):
            yield f"{at}: {key} {written.get(key, 'none')} is written, {read[key]} is read"
    for key in _UPPER_BOUNDS:
        if key in read and (key not in written or written[key] > read[key]):
            yield f"{at}: {key} {written.get(key, 'none')} is written, {read[key]} is read"
    for key in _EXACT:
        if key == "pattern" and key in read and key in written:
            yield from _pattern_narrowed(written[key], read[key], at)
        elif key in read and written.get(key) != read[key]:
            yield f"{at}: {key} {written.get(key, 'none')!r} is written, {read[key]!r} is read"


def _pattern_narrowed(written: str, read: str, at: str) -> Iterator[str]:
    """A pattern may grow as far as its readers are concerned."""
    try:
        text = refused(written, read)
    except ValueError:
        yield f"{at}: pattern {written!r} is written, {read!r} is read"
        return
    if text is not None:
        yield f"{at}: {text!r} is written, pattern {read!r} does not read it"
