"""Committed records as rows: frames become one row per tick, bars, books, marks and alerts one row per symbol.

Every row begins with ``partition``, ``offset`` and ``timestamp_ms`` of its record. Prices stay integers (``*_e4``). A
``Decoder`` gives a batch of records as dictionaries (for JSON Lines, nested values kept) or as one Arrow table (for CSV
and Parquet, nested values as JSON text) with the same columns for every batch of a topic.
"""

import base64
import json
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from common.contracts import alerts, market, ticks
from common.contracts.topics import DEAD_LETTERS, FRAME_SCHEMA, Schema, Topic
from pydantic import BaseModel, TypeAdapter
from streams.model.dead_letters import letter_of
from streams.model.message import Message

PLACE: Final = (("partition", pa.int32()), ("offset", pa.int64()), ("timestamp_ms", pa.int64()))

Row = dict[str, Any]


class Decoder(Protocol):
    """How the records of one topic become rows. Raises ValueError where a record is not what its topic says."""

    columns: pa.Schema

    def rows(self, messages: Sequence[Message]) -> Iterator[Row]: ...

    def table(self, messages: Sequence[Message]) -> pa.Table: ...


def place(message: Message) -> Row:
    """Partition, offset and time of the record."""
    return {"partition": message.partition, "offset": message.offset, "timestamp_ms": message.timestamp_ms}


# --- arrays: ticks, bars, books, marks, alerts --------------------------------------------------------------------

Columns = dict[str, npt.NDArray[Any]]


def _text(values: npt.NDArray[np.bytes_]) -> npt.NDArray[np.str_]:
    return np.char.decode(values, "ascii", "replace")


def _tick_names() -> npt.NDArray[np.str_]:
    names = np.array([f"UNKNOWN_{code}" for code in range(256)], dtype="U24")
    for kind in ticks.TickKind:
        names[kind] = kind.name
    return names


_TICK_NAMES: Final = _tick_names()
_LETTERS: Final = np.array(["", *(chr(code) for code in range(1, 128)), *([""] * 128)], dtype="U1")


def tick_columns(messages: Sequence[Message]) -> Columns:
    """The ticks of frames. ``symbol`` is known only on the directory row (R) that introduces it."""
    frames = [message.body for message in messages]
    counts = [len(frame.ticks) for frame in frames]
    rows = np.concatenate([frame.ticks for frame in frames])
    is_directory = rows["kind"] == ticks.TickKind.STOCK_DIRECTORY
    symbols = np.zeros(len(rows), dtype="U8")
    symbols[is_directory] = [ticks.ref_to_symbol(int(ref)) for ref in rows["order_ref"][is_directory]]
    return {
        "feed": np.repeat([frame.feed for frame in frames], counts),
        "ingest_ns": np.repeat([frame.ingest_ns for frame in frames], counts),
        "event_ns": rows["event_ns"],
        "sequence": rows["sequence"],
        "kind": _TICK_NAMES[rows["kind"]],
        "instrument_id": rows["instrument_id"],
        "symbol": symbols,
        "side": _LETTERS[rows["side"]],
        "price_e4": rows["price_e4"],
        "qty": rows["qty"],
        "order_ref": rows["order_ref"],
        "aux_ref": rows["aux_ref"],
        "flags": rows["flags"],
        "detail": _LETTERS[rows["detail"]],
    }


def _rows(messages: Sequence[Message]) -> npt.NDArray[Any]:
    return np.concatenate([message.body for message in messages])


def _plain_columns(rows: npt.NDArray[Any]) -> Columns:
    """The fields of a row type by their names, words as text, without padding."""
    names = [name for name in rows.dtype.names or () if name != "reserved"]
    return {name: _text(rows[name]) if rows[name].dtype.kind == "S" else rows[name] for name in names}


def plain_columns(messages: Sequence[Message]) -> Columns:
    """Rows as their type has them: measures, late trades, alerts."""
    return _plain_columns(_rows(messages))


def bar_columns(messages: Sequence[Message]) -> Columns:
    """Bars, with the truncated VWAP added."""
    rows = _rows(messages)
    return {**_plain_columns(rows), "vwap_e4": rows["notional_e4"] // np.maximum(rows["volume"], 1)}


def depth_columns(messages: Sequence[Message]) -> Columns:
    """Books: ``bid1_e4``, ``bid1_size``, … ``ask10_size``; 0 beyond the levels there are."""
    rows = _rows(messages)
    columns: Columns = {"symbol": _text(rows["symbol"])}
    for name in ("instrument_id", "event_ns", "ingest_ns", "bid_levels", "ask_levels"):
        columns[name] = rows[name]
    for side in ("bid", "ask"):
        for level in range(market.DEPTH_LEVELS):
            columns[f"{side}{level + 1}_e4"] = rows[f"{side}s"]["price_e4"][:, level]
            columns[f"{side}{level + 1}_size"] = rows[f"{side}s"]["size"][:, level]
    return columns


def mark_columns(messages: Sequence[Message]) -> Columns:
    """Marks; the clock row of a partition has no symbol and ``instrument_id`` -1."""
    columns = _plain_columns(_rows(messages))
    return {"symbol": columns.pop("symbol"), "trading_state": _LETTERS[columns.pop("trading_state")], **columns}


def _arrow_type(values: npt.NDArray[Any]) -> pa.DataType:
    return pa.string() if values.dtype.kind == "U" else pa.from_numpy_dtype(values.dtype.newbyteorder("="))


@dataclass(slots=True)
class ArrayDecoder:
    """Rows out of binary records; a batch is taken apart as a whole, for a record may hold a single row."""

    split: Callable[[Sequence[Message]], Columns]
    count: Callable[[Message], int]
    sample: Message
    columns: pa.Schema = field(init=False)

    def __post_init__(self) -> None:
        fields = [(name, _arrow_type(values)) for name, values in self.split([self.sample]).items()]
        self.columns = pa.schema([*PLACE, *fields])

    def rows(self, messages: Sequence[Message]) -> Iterator[Row]:
        yield from self.table(messages).to_pylist()

    def table(self, messages: Sequence[Message]) -> pa.Table:
        if not messages:
            return self.columns.empty_table()
        counts = [self.count(message) for message in messages]
        places = {name: np.repeat([place(message)[name] for message in messages], counts) for name, _ in PLACE}
        columns = {**places, **self.split(messages)}
        arrays = [
            pa.array(values.tolist() if values.dtype.kind == "U" else values, kind)
            for values, kind in zip(columns.values(), self.columns.types, strict=True)
        ]
        return pa.table(arrays, schema=self.columns)


# --- messages -----------------------------------------------------------------------------------------------------


def body_of(message: Message) -> Any:
    """The record's body; of a dead letter, whatever its form, the letter. Raises ValueError."""
    return letter_of(message) if message.topic.schema is DEAD_LETTERS else message.body


def _models(adapter: TypeAdapter[Any]) -> list[type[BaseModel]]:
    def flatten(kind: Any) -> Iterator[type[BaseModel]]:
        if typing.get_origin(kind) is typing.Annotated:
            yield from flatten(typing.get_args(kind)[0])
        elif typing.get_origin(kind) in (typing.Union, types.UnionType):
            for member in typing.get_args(kind):
                yield from flatten(member)
        else:
            yield kind

    return list(flatten(adapter._type))


def _plain_type(annotation: Any) -> pa.DataType:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(annotation) if member is not types.NoneType]
        return _plain_type(members[0]) if len(members) == 1 else pa.string()
    if typing.get_origin(annotation) is typing.Annotated:
        return _plain_type(typing.get_args(annotation)[0])
    return {int: pa.int64(), bool: pa.bool_()}.get(annotation, pa.string())


_PLACE_NAMES: Final = frozenset(name for name, _ in PLACE)


def column_of(field_name: str) -> str:
    """A field that is named as a part of the record's own place is told apart from it."""
    return f"body_{field_name}" if field_name in _PLACE_NAMES else field_name


class ModelDecoder:
    """Rows out of messages; a topic with several kinds of message has the columns of all of them."""

    def __init__(self, schema: Schema) -> None:
        if schema.model is None:
            raise ValueError(f"{schema.name} has no model")
        kinds: dict[str, pa.DataType] = {"key": pa.string()}
        for model in _models(schema.model):
            kinds.update({column_of(name): _plain_type(info.annotation) for name, info in model.model_fields.items()})
        self.columns = pa.schema([*PLACE, *kinds.items()])

    def rows(self, messages: Sequence[Message]) -> Iterator[Row]:
        for message in messages:
            key = (message.key or b"").decode("utf-8", "replace")
            body = body_of(message).model_dump(mode="json", exclude_none=True)
            yield {**place(message), "key": key, **{column_of(name): value for name, value in body.items()}}

    def table(self, messages: Sequence[Message]) -> pa.Table:
        return table_of(self.rows(messages), self.columns)


def table_of(rows: Iterable[Row], columns: pa.Schema) -> pa.Table:
    """Rows as one table, nested values as JSON text."""
    flat = [
        {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in row.items()}
        for row in rows
    ]
    return pa.Table.from_pylist(flat, schema=columns)


class RawDecoder:
    """Changelogs and what the topic table does not know: bytes as text, or base64 where they are none."""

    columns = pa.schema([*PLACE, ("key", pa.string()), ("value", pa.string()), ("headers", pa.string())])

    def rows(self, messages: Sequence[Message]) -> Iterator[Row]:
        for message in messages:
            key, value = _readable(message.key), _readable(message.value)
            headers = {name: _readable(text) for name, text in message.headers}
            yield {**place(message), "key": key, "value": value, "headers": headers}

    def table(self, messages: Sequence[Message]) -> pa.Table:
        rows = [{**row, "headers": json.dumps(row["headers"])} for row in self.rows(messages)]
        return pa.Table.from_pylist(rows, schema=self.columns)


def _readable(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(value).decode("ascii")
    return text if text.isprintable() else "base64:" + base64.b64encode(value).decode("ascii")


# --- which decoder ------------------------------------------------------------------------------------------------


_ROWS: Final[dict[str, tuple[np.dtype[Any], Callable[[Sequence[Message]], Columns]]]] = {
    "tick-frame-1": (ticks.TICK, tick_columns),
    "bars-1": (market.BAR, bar_columns),
    "measured-1": (market.MEASURED, plain_columns),
    "late-1": (market.LATE, plain_columns),
    "alerts-1": (alerts.ALERT, plain_columns),
    "depths-1": (market.DEPTH, depth_columns),
    "marks-1": (market.MARK, mark_columns),
}
"""Schema → type of its rows, and what makes columns of them."""


def _sample(schema: Schema, dtype: np.dtype[Any]) -> Message:
    array: npt.NDArray[Any] = np.zeros(1, dtype)
    is_frame = schema is FRAME_SCHEMA
    value = ticks.encode_frame(array, feed="", ingest_ns=0, session_ns=0) if is_frame else market.encode_rows(array)
    return Message(Topic("sample", "", schema, ""), 0, 0, None, value, 0)


def decoder_of(topic: Topic) -> Decoder:
    """The decoder of a topic's records."""
    if topic.schema.name in _ROWS:
        dtype, split = _ROWS[topic.schema.name]
        is_frame = topic.schema is FRAME_SCHEMA
        return ArrayDecoder(
            split, lambda m: len(m.body.ticks) if is_frame else len(m.body), _sample(topic.schema, dtype)
        )
    return ModelDecoder(topic.schema) if topic.schema.model is not None else RawDecoder()


class Format(StrEnum):
    """Output format of ``tidemark read``."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
