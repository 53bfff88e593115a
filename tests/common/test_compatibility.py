"""The comparison of contracts against its own table of cases, and against pydantic as the referee."""

from typing import Annotated, Any, Literal

import numpy as np
import pytest
from common.contracts.compatibility import breaks, layout_changes, row_changes
from common.contracts.schemas import describe_layout
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model


def closed(**fields: Any) -> dict[str, Any]:
    """The JSON Schema of a message that is closed to fields it does not know."""
    model: type[BaseModel] = create_model("Message", __config__=ConfigDict(extra="forbid"), **fields)
    return model.model_json_schema()


def opened(**fields: Any) -> dict[str, Any]:
    model: type[BaseModel] = create_model("Message", **fields)
    return model.model_json_schema()


PRICE = Annotated[int, Field(ge=0)]
CASH = Annotated[int, Field(ge=-10)]
PATTERN = Annotated[str, Field(pattern="^[A-Z]+$")]

NARROW = Annotated[str, Field(pattern="^[A-C][A-C]{0,2}$")]
WIDE = Annotated[str, Field(pattern="^[A-Z@]{1,4}$")]

INCOMPATIBLE = {
    "field removed": (closed(a=int, b=int), closed(a=int)),
    "field renamed": (closed(cash=int), closed(cash_e4=int)),
    "required field added": (closed(a=int), closed(a=int, b=int)),
    "optional field added to a closed message": (closed(a=int), closed(a=int, b=(int, 0))),
    "optional became required": (closed(a=(int, 0)), closed(a=int)),
    "type changed": (closed(a=int), closed(a=str)),
    "type widened": (closed(a=int), closed(a=int | None)),
    "number instead of integer": (closed(a=int), closed(a=float)),
    "minimum added": (closed(a=int), closed(a=PRICE)),
    "minimum raised": (closed(a=CASH), closed(a=PRICE)),
    "pattern added": (closed(a=str), closed(a=PATTERN)),
    "pattern widened": (closed(a=NARROW), closed(a=WIDE)),
    "enum value removed": (closed(a=Literal["x", "y"]), closed(a=Literal["x"])),
    "enum value added": (closed(a=Literal["x", "y"]), closed(a=Literal["x", "y", "z"])),
    "free text closed to a list": (closed(a=str), closed(a=Literal["x"])),
    "constant changed": (closed(a=Literal["x"]), closed(a=Literal["y"])),
    "default changed": (closed(a=(int, 0)), closed(a=(int, 1))),
    "element type changed": (closed(a=list[int]), closed(a=list[str])),
    "tuple element changed": (closed(a=tuple[int, int]), closed(a=tuple[int, str])),
    "tuple grew": (closed(a=tuple[int, int]), closed(a=tuple[int, int, int])),
    "map value changed": (closed(a=dict[str, int]), closed(a=dict[str, str])),
    "map closed": (closed(a=dict[str, Any]), closed(a=dict[str, int])),
    "required field added to an open message": (opened(a=int), opened(a=int, b=int)),
    "unknown keyword": ({"type": "object"}, {"type": "object", "minProperties": 1}),
}

COMPATIBLE = {
    "nothing": (closed(a=int, b=(str, "")), closed(a=int, b=(str, ""))),
    "texts": (closed(a=int), closed(a=(int, Field(description="what it is")))),
    "order of fields": (closed(a=int, b=str), closed(b=str, a=int)),
    "order of an enum": (closed(a=Literal["x", "y"]), closed(a=Literal["y", "x"])),
    "optional field added to an open message": (opened(a=int), opened(a=int, b=(int, 0))),
    "recursive": (
        TypeAdapter(dict[str, Any]).json_schema(),
        TypeAdapter(dict[str, Any]).json_schema(),
    ),
}


@pytest.mark.parametrize("case", INCOMPATIBLE)
def test_change_that_a_reader_notices_then_reported_in_one_direction_at_least(case: str) -> None:
    old, new = INCOMPATIBLE[case]
    assert breaks(old, new) + breaks(new, old)


@pytest.mark.parametrize("case", COMPATIBLE)
def test_change_that_no_reader_notices_then_silent_in_both_directions(case: str) -> None:
    old, new = COMPATIBLE[case]
    assert breaks(old, new) == ()
    assert breaks(new, old) == ()


def test_reason_names_place_and_direction() -> None:
    old, new = closed(qty=int), closed(qty=PRICE)
    assert breaks(old, new) == ("$.qty: minimum none is written, 0 is read",)
    assert breaks(new, old) == ()


def test_pattern_when_it_grows_then_old_records_are_read_and_old_readers_are_named_a_text_that_they_refuse() -> None:
    assert breaks(closed(a=NARROW), closed(a=WIDE)) == ()
    assert breaks(closed(a=WIDE), closed(a=NARROW)) == (
        "$.a: '@' is written, pattern '^[A-C][A-C]{0,2}$' does not read it",
    )


def test_pattern_when_it_is_not_understood_then_only_itself_reads_it() -> None:
    anything = Annotated[str, Field(pattern="^.*$")]
    assert breaks(closed(a=anything), closed(a=anything)) == ()
    assert breaks(closed(a=NARROW), closed(a=anything))


class Buy(BaseModel):
    type: Literal["buy"] = "buy"
    qty: int


class Sell(BaseModel):
    type: Literal["sell"] = "sell"
    qty: int


class SellPriced(BaseModel):
    type: Literal["sell"] = "sell"
    qty: int
    price_e4: int


def tagged(*members: type[BaseModel]) -> dict[str, Any]:
    union: Any = members[0]
    for member in members[1:]:
        union = union | member
    return TypeAdapter(union).json_schema()


def test_member_of_a_union_changed_then_the_reason_is_that_member_s() -> None:
    reasons = breaks(tagged(Buy, Sell), tagged(Buy, SellPriced))
    assert reasons == ("$.price_e4: is required by the reader, but not always written",)


def test_member_of_a_union_removed_then_only_its_readers_break() -> None:
    assert "$.type: 'sell' is refused" in breaks(tagged(Buy, Sell), tagged(Buy))
    assert breaks(tagged(Buy), tagged(Buy, Sell)) == ()


class Tree(BaseModel):
    value: int
    children: list["Tree"] = []


class TreeOfText(BaseModel):
    value: str
    children: list["TreeOfText"] = []


def test_recursive_message_then_the_comparison_ends() -> None:
    tree, text = Tree.model_json_schema(), TreeOfText.model_json_schema()
    assert breaks(tree, tree) == ()
    assert breaks(tree, text) == ("$.value: integer is written, string is read",)


# --- pydantic as the referee: what the comparison lets pass, the reading model reads ---------------------------------

FIELD_TYPES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "int": (int, st.integers(-5, 5)),
    "price": (PRICE, st.integers(0, 5)),
    "cash": (CASH, st.integers(-10, 5)),
    "str": (str, st.text(max_size=3)),
    "pattern": (PATTERN, st.from_regex(r"\A[A-Z]{1,3}\Z")),
    "bounded pattern": (NARROW, st.from_regex(r"\A[A-C][A-C]{0,2}\Z")),
    "wider pattern": (WIDE, st.from_regex(r"\A[A-C@][A-C@]{0,2}\Z")),
    "enum": (Literal["x", "y"], st.sampled_from(["x", "y"])),
    "wider enum": (Literal["x", "y", "Z"], st.sampled_from(["x", "y", "Z"])),
    "bool": (bool, st.booleans()),
    "optional": (int | None, st.none() | st.integers(-5, 5)),
    "list": (list[int], st.lists(st.integers(-5, 5), max_size=2)),
    "prices": (list[PRICE], st.lists(st.integers(0, 5), max_size=2)),
    "pair": (tuple[int, str], st.tuples(st.integers(-5, 5), st.text(max_size=2))),
    "map": (dict[str, int], st.dictionaries(st.text(max_size=2), st.integers(-5, 5), max_size=2)),
    "any map": (dict[str, Any], st.dictionaries(st.text(max_size=2), st.integers() | st.text(), max_size=2)),
}
SHAPES = st.dictionaries(
    st.sampled_from("abc"), st.tuples(st.sampled_from(sorted(FIELD_TYPES)), st.booleans()), max_size=3
)


def model_of(shape: dict[str, tuple[str, bool]], extra: Literal["forbid", "ignore"]) -> type[BaseModel]:
    fields: dict[str, Any] = {
        name: (FIELD_TYPES[kind][0], ... if required else None) for name, (kind, required) in shape.items()
    }
    return create_model("Message", __config__=ConfigDict(extra=extra, strict=True), **fields)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SHAPES, SHAPES, st.sampled_from(["forbid", "ignore"]), st.booleans(), st.data())
def test_pair_without_breaks_then_every_written_value_is_read(
    shape: dict[str, tuple[str, bool]],
    other: dict[str, tuple[str, bool]],
    extra: Literal["forbid", "ignore"],
    overlap: bool,
    data: st.DataObject,
) -> None:
    reader_shape = shape | other if overlap else other
    writer, reader = model_of(shape, extra), model_of(reader_shape, extra)
    reasons = breaks(writer.model_json_schema(), reader.model_json_schema())
    event("compatible" if not reasons else "incompatible")
    present = {name for name, (_, required) in shape.items() if required or data.draw(st.booleans())}
    value = writer(**{name: data.draw(FIELD_TYPES[shape[name][0]][1]) for name in sorted(present)})
    written = value.model_dump_json(exclude_unset=True)
    try:
        reader.model_validate_json(written)
    except ValidationError:
        assert reasons, f"{written} is refused, and the comparison did not see it"


# --- binary layouts --------------------------------------------------------------------------------------------------

TICK = np.dtype([("event_ns", "<i8"), ("price_e4", "<i8"), ("side", "u1")])
LAYOUT_CHANGES: dict[str, list[Any]] = {
    "field added": [("event_ns", "<i8"), ("price_e4", "<i8"), ("side", "u1"), ("flags", "u1")],
    "field removed": [("event_ns", "<i8"), ("price_e4", "<i8")],
    "field narrowed": [("event_ns", "<i8"), ("price_e4", "<i4"), ("side", "u1")],
    "sign changed": [("event_ns", "<i8"), ("price_e4", "<u8"), ("side", "u1")],
    "fields swapped": [("price_e4", "<i8"), ("event_ns", "<i8"), ("side", "u1")],
    "byte order": [("event_ns", ">i8"), ("price_e4", "<i8"), ("side", "u1")],
    "repeated": [("event_ns", "<i8"), ("price_e4", "<i8"), ("side", "u1", (1,))],
}


@pytest.mark.parametrize("case", LAYOUT_CHANGES)
def test_layout_changed_then_reported(case: str) -> None:
    changed = np.dtype(LAYOUT_CHANGES[case])
    assert layout_changes(describe_layout(TICK), describe_layout(changed))


def test_layout_unchanged_then_silent() -> None:
    assert layout_changes(describe_layout(TICK), describe_layout(np.dtype(TICK.descr))) == ()


def rows_of(*fields: dict[str, Any], array: bool = True) -> dict[str, Any]:
    return {"accounts": {"array": array, "fields": list(fields)}}


CASH_FIELD: dict[str, Any] = {"name": "cash_e4", "type": {"type": "int"}}
SEQ_FIELD: dict[str, Any] = {"name": "seq", "type": {"type": "int"}, "default": 0}


def test_rows_when_a_field_with_a_default_is_appended_then_both_releases_read_them() -> None:
    assert row_changes(rows_of(CASH_FIELD), rows_of(CASH_FIELD, SEQ_FIELD)) == ()
    assert row_changes({"closed": {"type": "string"}}, {"closed": {"type": "string"}, "new": {"type": "string"}}) == ()


@pytest.mark.parametrize(
    "changed",
    [
        rows_of(SEQ_FIELD, CASH_FIELD),
        rows_of({**CASH_FIELD, "name": "cash_e6"}),
        rows_of({**CASH_FIELD, "type": {"type": "str"}}),
        rows_of(CASH_FIELD, {**CASH_FIELD, "name": "limit_e4"}),
        rows_of(),
        rows_of(CASH_FIELD, array=False),
        {},
        {"accounts": {"type": "integer"}},
    ],
)
def test_rows_when_changed_in_any_other_way_then_that_is_said(changed: dict[str, Any]) -> None:
    assert row_changes(rows_of(CASH_FIELD), changed)


def test_rows_when_they_are_objects_then_neither_release_may_miss_a_field() -> None:
    one: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    optional = {**one, "properties": {**one["properties"], "b": {"type": "integer", "default": 0}}}
    needed = {**optional, "required": ["a", "b"]}
    assert row_changes({"orders": one}, {"orders": optional}) == ()
    assert row_changes({"orders": one}, {"orders": needed})
