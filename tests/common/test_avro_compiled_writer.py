"""The compiled writer of Avro records against fastavro: the same bytes, and no byte of what does not fit."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from common.avro.compiled import SchemaUnsupported, ValueUnfit, Writer, writer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.common.avro_messages import DEEP, FLAT, INT64, General, deep_values, framed

Array = npt.NDArray[Any]
ID = 1_414_332_417
SYMBOLS = ("BUY", "SELL", "NONE")
WRITER = writer(DEEP)
GENERAL = General(DEEP)


class Columns:
    """Rows of a writer from values, by its names."""

    def __init__(self, of: Writer) -> None:
        self.of = of
        self.text = bytearray(b"what stands before is not read")
        self.items: dict[str, list[dict[str, Any]]] = {path: [] for path in of.items}

    def columns(self, value: Mapping[str, Any], path: str = "") -> dict[str, Any]:
        """Columns of a record."""
        found: dict[str, Any] = {}
        for name, field in value.items():
            found |= self.field(f"{path}.{name}" if path else name, field)
        return found

    def field(self, path: str, value: Any) -> dict[str, Any]:
        given = {f"{path}.given": value is not None}
        match value:
            case None:
                return given
            case str() if path.rpartition(".")[2] in ("book", "books"):
                return given | {path: SYMBOLS.index(value)}
            case str() | bytes():
                begin = len(self.text)
                self.text += value.encode() if isinstance(value, str) else value
                return given | {f"{path}.begin": begin, f"{path}.end": len(self.text)}
            case dict() if path not in self.items:
                return given | self.columns(value, path)
            case list() | dict():
                begin = len(self.items[path])
                for each in value.items() if isinstance(value, dict) else value:
                    self.items[path].append(self.item(path, each))
                return given | {f"{path}.begin": begin, f"{path}.end": len(self.items[path])}
            case _:
                return given | {path: value}

    def item(self, path: str, value: Any) -> dict[str, Any]:
        if isinstance(value, tuple):
            key, number = value
            return self.field("key", key) | self.field(path, number)
        return self.columns(value, path) if isinstance(value, dict) else self.field(path, value)

    def arrays(self) -> tuple[Array, list[Array]]:
        items = [rows_of(self.of.items[path], rows) for path, rows in self.items.items()]
        return np.frombuffer(bytes(self.text), np.uint8), items


def rows_of(dtype: np.dtype[Any], columns: Iterable[Mapping[str, Any]]) -> Array:
    return np.array([tuple(row.get(name, 0) for name in dtype.names or ()) for row in columns], dtype)


def written(of: Writer, values: Iterable[Mapping[str, Any]]) -> list[bytes]:
    columns = Columns(of)
    rows = rows_of(of.row, [columns.columns(value) for value in values])
    text, items = columns.arrays()
    return of.write(rows, text, ID, items).values()


@given(st.lists(deep_values, max_size=4))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_write_when_values_fit_then_the_bytes_are_the_general_codecs(values: list[dict[str, Any]]) -> None:
    assert written(WRITER, values) == [framed(ID, GENERAL.encoded(value)) for value in values]


NUMBER = {"type": "record", "name": "N", "fields": [{"name": "n", "type": "long"}]}


@given(INT64 | st.integers(0, 63).flatmap(lambda bits: st.sampled_from([2**bits - 1, -(2**bits)])))
@settings(max_examples=400, deadline=None)
def test_write_when_a_number_has_any_width_then_it_takes_its_own(number: int) -> None:
    of = writer(NUMBER)
    assert written(of, [{"n": number}, {"n": -1}]) == [
        framed(ID, General(NUMBER).encoded({"n": each})) for each in (number, -1)
    ]


VALUE: dict[str, Any] = {
    "account": "A", "book": "NONE", "count": -1, "amount": 5, "live": True, "hash": b"abcd", "blob": b"blob",
    "note": "n", "quote": {"at_ns": 1, "venue": "XNAS", "book": "SELL"},
    "other": {"at_ns": 1, "venue": "XNAS", "book": None}, "last": b"efgh",
    "items": [{"asset": "AAPL", "amount": 1}, {"asset": "@CASH", "amount": None}], "numbers": {"a": 1},
    "books": ["BUY"], "empty": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("count", 2**31),
        ("count", -(2**31) - 1),
        ("book", 3),
        ("book", -1),
        ("quote.book", 3),
        ("account.begin", -1),
        ("account.end", 0),
        ("account.end", 10_000),
        ("hash.end", 0),
        ("items.end", 10_000),
        ("books.begin", -1),
    ],
)
def test_write_when_a_value_does_not_fit_then_the_row_and_the_column_are_named(column: str, value: int) -> None:
    columns = Columns(WRITER)
    rows = rows_of(WRITER.row, [columns.columns(VALUE), columns.columns(VALUE)])
    text, items = columns.arrays()
    assert len(WRITER.write(rows, text, ID, items).ends) == 2
    assert WRITER.symbols == dict.fromkeys(("book", "quote.book", "other.book", "books"), SYMBOLS)
    rows[1][column] = value
    with pytest.raises(ValueUnfit, match=rf"row 1: {column.removesuffix('.end').removesuffix('.begin')}"):
        WRITER.write(rows, text, ID, items)


def test_write_when_a_string_is_no_utf8_then_it_does_not_fit_and_bytes_do() -> None:
    columns = Columns(WRITER)
    rows = rows_of(WRITER.row, [columns.columns(VALUE)])
    text, items = columns.arrays()
    text = text.copy()
    text[rows[0]["blob.begin"]] = 0xFF
    assert WRITER.write(rows, text, ID, items).values() == [framed(ID, GENERAL.encoded(VALUE | {"blob": b"\xfflob"}))]
    text[rows[0]["account.begin"]] = 0xFF
    with pytest.raises(ValueUnfit, match=r"row 0: account\.begin"):
        WRITER.write(rows, text, ID, items)


def test_write_when_rows_are_anothers_then_they_are_refused() -> None:
    columns = Columns(WRITER)
    rows = rows_of(WRITER.row, [columns.columns(VALUE)])
    text, items = columns.arrays()
    with pytest.raises(TypeError):
        WRITER.write(rows[["count"]], text, ID, items)
    with pytest.raises(TypeError):
        WRITER.write(rows, text, ID, items[:-1])
    with pytest.raises(ValueUnfit, match="no id"):
        WRITER.write(rows, text, 2**32, items)


def test_write_when_parts_are_constant_shared_or_counted_then_only_the_rest_takes_columns() -> None:
    of = writer(
        DEEP,
        constants={
            "book": "SELL", "count": -1, "live": True, "hash": b"abcd", "blob": b"blob", "last": b"efgh",
            "quote": {"at_ns": 1, "venue": "XNAS", "book": "SELL"}, "other.venue": "XNAS", "other.book": None,
            "items.1.asset": "@CASH", "numbers": {"é": 1, "b": -1}, "books": ["BUY", "SELL"], "empty": [],
        },
        given=["note", "items.0.amount"],
        columns={"note": "account", "items.0.asset": "account", "other.at_ns": "amount"},
        lengths={"items": 2},
    )  # fmt: skip
    assert of.row.names == (
        "account.begin", "account.end", "amount", "items.0.amount", "items.1.amount.given", "items.1.amount",
    )  # fmt: skip
    assert not of.items
    text = np.frombuffer("naïve".encode(), np.uint8)
    rows = np.array([(0, 6, 7, -7, False, 99), (3, 3, 8, -8, True, 99)], of.row)
    value = VALUE | {
        "book": "SELL", "numbers": {"é": 1, "b": -1}, "books": ["BUY", "SELL"],
    }  # fmt: skip

    def expected(name: str, amount: int, last: int | None) -> bytes:
        items = [{"asset": name, "amount": -amount}, {"asset": "@CASH", "amount": last}]
        other = {"at_ns": amount, "venue": "XNAS", "book": None}
        own = {"account": name, "note": name, "amount": amount, "items": items, "other": other}
        return framed(ID, GENERAL.encoded(value | own))

    assert of.write(rows, text, ID).values() == [expected("naïve", 7, None), expected("", 8, 99)]


def test_write_when_the_record_is_one_of_a_union_then_its_number_stands_first() -> None:
    of = writer(FLAT, branch="Other")
    rows = np.array([(5,), (-6,)], of.row)
    general = General(FLAT, "test.Other")
    values = of.write(rows, np.zeros(0, np.uint8), ID).values()
    assert values == [framed(ID, general.encoded({"id": number})) for number in (5, -6)]


@pytest.mark.parametrize(
    ("declared", "error", "text"),
    [
        ({"constants": {"missing": 1}}, SchemaUnsupported, "missing: nothing stands there"),
        ({"columns": {"missing": "m"}}, SchemaUnsupported, "missing: nothing stands there"),
        ({"given": ["account"]}, SchemaUnsupported, "account: nothing stands there"),
        ({"columns": {"account": "amount"}, "lengths": {"items": 1}}, None, ""),
        ({"columns": {"live": "amount"}}, SchemaUnsupported, "live: column amount is of another type"),
        ({"lengths": {"numbers": 1}}, SchemaUnsupported, "numbers: only an array"),
        ({"constants": {"count": 2**31}}, ValueError, "count: 2147483648 is no int"),
        ({"constants": {"amount": True}}, ValueError, "amount: True is no long"),
        ({"constants": {"book": "HOLD"}}, ValueError, "book: 'HOLD' is no enum"),
        ({"constants": {"hash": b"abc"}}, ValueError, "hash: b'abc' is no fixed"),
        ({"constants": {"quote": {"at_ns": 1}}}, ValueError, "does not have the fields"),
    ],
)
def test_writer_when_it_cannot_be_composed_then_it_says_why(
    declared: dict[str, Any], error: type[Exception] | None, text: str
) -> None:
    if error is None:
        writer(DEEP, **declared)
        return
    with pytest.raises(error, match=text):
        writer(DEEP, **declared)


def test_writer_when_an_array_stands_in_an_array_then_it_is_refused() -> None:
    nested = {"type": "array", "items": {"type": "array", "items": "long"}}
    with pytest.raises(SchemaUnsupported, match="x: an array within an array"):
        writer({"type": "record", "name": "R", "fields": [{"name": "x", "type": nested}]})


def test_fingerprint_when_what_is_declared_changes_then_it_is_another() -> None:
    declared: list[dict[str, Any]] = [
        {},
        {"constants": {"amount": 1}},
        {"constants": {"amount": 2}},
        {"given": ["note"]},
    ]
    assert len({writer(DEEP, **each).fingerprint for each in declared}) == len(declared)
