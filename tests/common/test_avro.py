"""Avro on the log: a message in both forms, schemas on file, and what an older or a newer release makes of it."""

import json
import types
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np
import pytest
from common.avro.codec import AvroFraming
from common.avro.derive import without_texts
from common.avro.export import ChangedSchemaError, derived, export
from common.avro.on_file import DIRECTORY, FIRST_ID, INDEX, LAST_ID, by_id, read_index
from common.avro.registry import Schemas
from common.contracts.market import MARK
from common.contracts.topics import MD_MARKS, ORDERS_INTENTS, TOPICS
from common.contracts.values import INT64_MAX
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from streams.model.framing import NewerSchema, SchemaUnknown, frame, is_framed, schema_id_of
from streams.model.topics import Topic

FRAMED = {topic.name: topic for topic in TOPICS if topic.schema.framing is not None}
MESSAGES = [name for name, topic in FRAMED.items() if topic.schema.model is not None]
ROWS = [name for name, topic in FRAMED.items() if topic.schema.model is None]


def framing_of(topic: Topic) -> AvroFraming:
    assert isinstance(topic.schema.framing, AvroFraming)
    return topic.schema.framing


# --- any message ------------------------------------------------------------------------------------------------------


def values_of(annotation: Any, field: FieldInfo | None = None) -> st.SearchStrategy[Any]:
    """Any value of a message's field."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return values_of(arguments[0], FieldInfo.from_annotation(annotation))
    if origin in (Union, types.UnionType):
        return st.one_of([values_of(each, field) for each in arguments])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is dict:
        return st.dictionaries(st.from_regex(r"[a-z_0-9]{1,12}", fullmatch=True), values_of(arguments[1]), max_size=3)
    if origin is tuple:
        return st.lists(values_of(arguments[0]), max_size=3).map(tuple)
    if annotation is type(None):
        return st.none()
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return messages_of(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return st.sampled_from(annotation)
    rules = {key: getattr(rule, key) for rule in (field.metadata if field else ()) for key in BOUNDS if has(rule, key)}
    return plain(annotation, rules)


BOUNDS = ("ge", "le", "pattern", "min_length", "max_length")


def has(rule: Any, key: str) -> bool:
    return getattr(rule, key, None) is not None


def plain(annotation: Any, rules: dict[str, Any]) -> st.SearchStrategy[Any]:
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        return st.integers(rules.get("ge", -INT64_MAX), rules.get("le", INT64_MAX))
    assert annotation is str, annotation
    if "pattern" in rules:
        return st.from_regex(rules["pattern"].removesuffix("$") + r"\Z")
    sizes = {"min_size": rules.get("min_length", 0), "max_size": rules.get("max_length", 40)}
    return st.text(st.characters(codec="utf-8"), **sizes)


def messages_of(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    fields = {name: values_of(field.annotation, field) for name, field in model.model_fields.items()}
    return st.fixed_dictionaries(fields).filter(partial(_is_one, model)).map(lambda said: model(**said))


def _is_one(model: type[BaseModel], said: Any) -> bool:
    """Whether fields that are right by themselves are a message together."""
    try:
        model(**said)
    except ValidationError as error:
        assert all(each["type"] == "value_error" for each in error.errors()), error
        return False
    return True


@pytest.mark.parametrize("name", MESSAGES)
def test_any_message_when_framed_and_read_then_byte_for_byte_the_json_it_was(name: str) -> None:
    topic, framing = FRAMED[name], framing_of(FRAMED[name])

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(message=values_of(framing.message))
    def round_trip(message: Any) -> None:
        text = topic.schema.encode(message)
        framed = framing.framed(text)
        assert is_framed(framed)
        assert schema_id_of(framed) in by_id()
        assert framing.text(framed) == text
        assert topic.schema.decode(framed) == message
        assert len(framed) < len(text)

    round_trip()


def rows_of(dtype: Any) -> st.SearchStrategy[Any]:
    """Any row, as a tuple; of a repeated record, those at the end may be zero."""
    values = []
    for name in dtype.names:
        of = dtype[name]
        if name == "reserved":
            values.append(st.just(0 if of.shape == () else (0,) * of.shape[0]))
        elif of.shape:
            values.append(st.lists(rows_of(of.base), max_size=of.shape[0]).map(partial(padded, of)))
        elif of.kind == "S":
            values.append(st.from_regex(r"[A-Z@][A-Z0-9.]{0,15}\Z").map(str.encode))
        elif of == np.dtype("u1"):
            values.append(st.sampled_from((0, *b"THPQ")))
        else:
            values.append(st.integers(np.iinfo(of).min, np.iinfo(of).max))
    return st.tuples(*values)


def padded(of: Any, rows: list[Any]) -> list[Any]:
    return [*rows, *[tuple(0 for _ in of.base.names)] * (of.shape[0] - len(rows))]


@pytest.mark.parametrize("name", ROWS)
def test_any_rows_when_framed_then_a_record_for_each_that_is_the_row_again_byte_for_byte(name: str) -> None:
    topic, framing = FRAMED[name], framing_of(FRAMED[name])
    dtype = framing.message

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(values=st.lists(rows_of(dtype), min_size=1, max_size=3))
    def round_trip(values: list[Any]) -> None:
        rows = np.array(values, dtype)
        records = framing.records(b"3", topic.schema.encode(rows))
        assert [key for key, _ in records] == [row["symbol"] if framing.packed else b"3" for row in rows]
        assert [framing.text(value) for _, value in records] == [row.tobytes() for row in rows]
        assert all(topic.schema.decode(value) == row for (_, value), row in zip(records, rows, strict=True))

    round_trip()


def test_clock_row_of_the_marks_when_read_as_it_is_then_not_taken_for_framed() -> None:
    """It has no symbol, so it begins with zeros."""
    row = np.zeros(1, MARK)
    row["instrument_id"] = -1
    value = MD_MARKS.schema.encode(row)
    assert value[0] == 0
    assert not is_framed(value)
    assert MD_MARKS.schema.decode(value) == row
    ((key, framed),) = framing_of(MD_MARKS).records(b"@3", value)
    assert key == b"@3"
    assert MD_MARKS.schema.decode(framed) == row


# --- on file ----------------------------------------------------------------------------------------------------------


def test_messages_of_the_code_when_compared_with_the_files_then_the_same_but_for_texts() -> None:
    index = {file.file: file for file in read_index()}
    for framing, schema in derived().values():
        assert framing.file in index, "not on file: make schemas"
        assert without_texts(index[framing.file].schema()) == without_texts(schema), "raise its version: make schemas"


def test_ids_when_read_then_a_range_without_a_gap_and_a_file_for_each() -> None:
    index = read_index()
    assert [file.id for file in index] == list(range(FIRST_ID, FIRST_ID + len(index)))
    assert index[-1].id < LAST_ID
    assert {file.file for file in index} == {path.name for path in DIRECTORY.glob("*.avsc")}
    for file in index:
        versions = [other.version for other in index if other.subject == file.subject]
        assert versions == list(range(1, len(versions) + 1))


def test_files_then_no_two_say_the_same_since_a_registry_would_give_them_one_id() -> None:
    contents = [json.dumps(without_texts(file.schema())) for file in read_index()]
    assert len(set(contents)) == len(contents)


def test_export_when_a_version_is_no_other_one_in_avro_then_refused_with_what_to_say(tmp_path: Any) -> None:
    export(tmp_path)
    index = tmp_path / INDEX
    index.write_text(index.read_text("utf-8").replace("instrument.v2.avsc", "instrument.v9.avsc"), "utf-8")
    (tmp_path / "instrument.v2.avsc").rename(tmp_path / "instrument.v9.avsc")
    with pytest.raises(ChangedSchemaError, match=r"instrument\.v2\.avsc is instrument\.v9\.avsc: avro=9"):
        export(tmp_path)


def test_export_when_done_twice_then_the_second_writes_nothing(tmp_path: Any) -> None:
    assert len(export(tmp_path)) == len({framing.file for framing, _ in derived().values()})
    assert export(tmp_path) == []


# --- evolution --------------------------------------------------------------------------------------------------------

INTENT = {
    "account_id": "a",
    "client_order_id": "o-1",
    "symbol": "CEFI",
    "side": "B",
    "order_type": "LIMIT",
    "time_in_force": "DAY",
    "qty": 5,
    "limit_price_e4": 400_000,
    "sent_ns": 17,
}
NEWER_ID = 77


def intent_schema() -> Any:
    framing, _ = derived()[ORDERS_INTENTS.name]
    return next(file for file in read_index() if file.file == framing.file).schema()


def field_named(schema: Any, name: str) -> Any:
    return next(field for field in schema["fields"] if field["name"] == name)


def release_with(schema: Any, known: dict[int, Any] | None = None) -> AvroFraming:
    """The codec of a release whose intents have this schema, and that was told of others."""
    schemas = Schemas()
    schemas.take(known or {})
    framing = framing_of(ORDERS_INTENTS)
    return AvroFraming(framing.name, framing.version, framing.message, schemas, (schema, NEWER_ID))


def add_desk(schema: Any) -> None:
    schema["fields"].insert(2, {"name": "desk", "type": ["null", "string"], "default": None})


def add_gtc(schema: Any) -> None:
    field_named(schema, "time_in_force")["type"]["symbols"].append("ATC")


def add_stop(schema: Any) -> None:
    field_named(schema, "order_type")["type"]["symbols"].append("STOP")


def newer(*changes: Callable[[Any], None]) -> Any:
    schema = intent_schema()
    for change in changes:
        change(schema)
    return schema


def test_newer_record_when_read_by_an_older_release_then_what_is_new_is_dropped_or_read_cautiously() -> None:
    schema = newer(add_desk, add_gtc)
    value = release_with(schema).framed(json.dumps(INTENT | {"desk": "A7", "time_in_force": "ATC"}).encode())
    old = release_with(intent_schema(), {NEWER_ID: schema})
    assert json.loads(old.text(value)) == INTENT


def test_older_record_when_read_by_a_newer_release_then_what_is_new_has_its_default() -> None:
    value = framing_of(ORDERS_INTENTS).framed(json.dumps(INTENT).encode())
    assert json.loads(release_with(newer(add_desk, add_gtc)).text(value)) == INTENT


def test_record_with_an_id_that_nobody_knows_when_read_then_unknown_and_not_damaged() -> None:
    with pytest.raises(SchemaUnknown, match=f"schema {NEWER_ID}: not on file"):
        framing_of(ORDERS_INTENTS).text(frame(NEWER_ID, b"anything"))


def test_new_symbol_of_a_closed_enum_when_read_then_it_waits_for_the_newer_release() -> None:
    schema = newer(add_stop)
    value = release_with(schema).framed(json.dumps(INTENT | {"order_type": "STOP"}).encode())
    old = release_with(intent_schema(), {NEWER_ID: schema})
    with pytest.raises(NewerSchema, match="STOP"):
        old.text(value)
    assert json.loads(old.text(release_with(schema).framed(json.dumps(INTENT).encode()))) == INTENT


def test_record_of_another_message_when_read_then_damaged() -> None:
    other = next(file for file in read_index() if file.file.startswith("fence"))
    with pytest.raises(ValueError, match=r"is of tidemark\.Fence"):
        framing_of(ORDERS_INTENTS).text(frame(other.id, bytes(40)))


@given(body=st.binary(max_size=80), cut=st.integers(0, 60))
def test_damaged_body_when_read_then_a_value_error_and_nothing_else(body: bytes, cut: int) -> None:
    framing = framing_of(ORDERS_INTENTS)
    whole = framing.framed(json.dumps(INTENT).encode())
    for value in (frame(schema_id_of(whole), body or b"x"), whole[: 6 + cut], whole + body):
        try:
            framing.text(value)
        except NewerSchema:
            raise
        except ValueError:
            continue
        assert value == whole or framing.framed(framing.text(value)) == value
