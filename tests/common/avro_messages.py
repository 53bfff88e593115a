"""A schema with everything that the compiled codecs know, and values of any schema."""

import io
from typing import Any, Final

import fastavro
from hypothesis import strategies as st

INT64 = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-200, 200))
INT32 = st.one_of(st.integers(-(2**31), 2**31 - 1), st.integers(-200, 200))

QUOTE: Final = {
    "type": "record",
    "name": "Quote",
    "fields": [
        {"name": "at_ns", "type": "long"},
        {"name": "venue", "type": "string"},
        {"name": "book", "type": ["null", "Book"]},
    ],
}
FLAT_FIELDS: Final[list[Any]] = [
    {"name": "account", "type": "string"},
    {"name": "book", "type": {"type": "enum", "name": "Book", "symbols": ["BUY", "SELL", "NONE"]}},
    {"name": "count", "type": "int"},
    {"name": "amount", "type": {"type": "long", "logicalType": "timestamp-nanos-of-nothing"}},
    {"name": "live", "type": "boolean"},
    {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 4}},
    {"name": "blob", "type": "bytes"},
    {"name": "note", "type": ["string", "null"]},
    {"name": "quote", "type": ["null", QUOTE]},
    {"name": "other", "type": "Quote"},
    {"name": "last", "type": "Hash"},
]
ITEM: Final = {
    "type": "record",
    "name": "Item",
    "fields": [{"name": "asset", "type": "string"}, {"name": "amount", "type": ["null", "long"]}],
}
OTHER: Final = {"type": "record", "name": "Other", "namespace": "test", "fields": [{"name": "id", "type": "long"}]}
FLAT: Final = [OTHER, {"type": "record", "name": "Flat", "namespace": "test", "fields": FLAT_FIELDS}]
"""A union of records, as a topic of several messages has it."""
DEEP: Final = {
    "type": "record",
    "name": "Deep",
    "namespace": "test",
    "fields": [
        *FLAT_FIELDS,
        {"name": "items", "type": {"type": "array", "items": ITEM}},
        {"name": "numbers", "type": {"type": "map", "values": "long"}},
        {"name": "books", "type": ["null", {"type": "array", "items": "Book"}]},
        {"name": "empty", "type": {"type": "array", "items": "int"}},
    ],
}
_quotes = st.fixed_dictionaries(
    {"at_ns": INT64, "venue": st.text(max_size=20), "book": st.sampled_from([None, "BUY", "SELL", "NONE"])}
)
_flat: Final[dict[str, st.SearchStrategy[Any]]] = {
    "account": st.text(max_size=40),
    "book": st.sampled_from(["BUY", "SELL", "NONE"]),
    "count": INT32,
    "amount": INT64,
    "live": st.booleans(),
    "hash": st.binary(min_size=4, max_size=4),
    "blob": st.binary(max_size=200),
    "note": st.none() | st.text(max_size=20),
    "quote": st.none() | _quotes,
    "other": _quotes,
    "last": st.binary(min_size=4, max_size=4),
}
flat_values = st.fixed_dictionaries(_flat)
deep_values = st.fixed_dictionaries(
    {
        **_flat,
        "items": st.lists(
            st.fixed_dictionaries({"asset": st.text(max_size=10), "amount": st.none() | INT64}), max_size=4
        ),
        "numbers": st.dictionaries(st.text(max_size=10), INT64, max_size=4),
        "books": st.none() | st.lists(st.sampled_from(["BUY", "SELL", "NONE"]), max_size=3),
        "empty": st.just([]),
    }
)


class General:
    """fastavro: an implementation that shares nothing with the compiled one."""

    def __init__(self, schema: Any, branch: str | None = None) -> None:
        self._parsed = fastavro.parse_schema(schema)
        self._branch = branch

    def encoded(self, value: Any) -> bytes:
        body = io.BytesIO()
        fastavro.schemaless_writer(body, self._parsed, value if self._branch is None else (self._branch, value))
        return body.getvalue()

    def is_sound(self, value: Any) -> bool:
        """Whether each number is within its type: fastavro writes an ``int`` of more than 32 bits without a word."""
        return fastavro.validate(
            value if self._branch is None else (self._branch, value), self._parsed, raise_errors=False
        )

    def decoded(self, body: bytes) -> Any:
        """Raises what it likes where the bytes are no value, or more than one."""
        read = io.BytesIO(body)
        value: Any = fastavro.schemaless_reader(read, self._parsed, None)
        if read.tell() != len(body):
            raise ValueError("bytes are left")
        if self._branch == "test.Flat" and "account" not in value:
            raise ValueError("another record of the union")
        return value


def framed(schema_id: int, body: bytes) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big") + body
