"""Rows of the stages' tables as JSON bytes."""

from collections.abc import Mapping
from typing import Any

import msgspec
from common.contracts.twins import reader_of, written
from common.reported import Execution
from pydantic import BaseModel, TypeAdapter
from streams.model.tables import Codec


def json_codec(of: Any) -> Codec:
    """A codec for a pydantic model or a dataclass. Decoding raises ValueError where the bytes are of another shape."""
    adapter: TypeAdapter[Any] = TypeAdapter(of)
    return Codec(lambda value: adapter.dump_json(value, exclude_none=True), adapter.validate_json, adapter.json_schema)


def twin_codec(model: type[BaseModel], twin: type[BaseModel]) -> Codec:
    """A codec for rows that are a message: it takes the model or its twin, and gives a twin.

    Of what the twin refuses, such as a row of an older version, it gives the model. Decoding raises ValueError where
    the model refuses it, too.
    """
    adapter, read = TypeAdapter(model), reader_of(twin)

    def decode(value: bytes) -> Any:
        try:
            return read(value)
        except ValueError:
            return adapter.validate_json(value)

    return Codec(written, decode, adapter.json_schema)


def dense_codec(of: Any, twins: Mapping[type[BaseModel], type[BaseModel]] | None = None) -> Codec:
    """A codec for a dataclass in which nothing is ever None: as ``json_codec``, in a third of the time.

    ``twins``: models within it, of which the twins are read; either is written.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(of)
    read = msgspec.json.Decoder(of, dec_hook=lambda model, datum: msgspec.convert(datum, (twins or {})[model])).decode

    def decode(value: bytes) -> Any:
        try:
            return read(value)
        except (ValueError, KeyError):
            return adapter.validate_json(value)

    encode = msgspec.json.Encoder(enc_hook=lambda model: msgspec.Raw(written(model))).encode
    return Codec(encode, decode, adapter.json_schema)


TEXT_CODEC = Codec(str.encode, bytes.decode, lambda: {"type": "string"})


def ring_key(owner: str, count: int, size: int) -> bytes:
    """Key of the slot that the ``count``-th entry of an owner takes in a ring of ``size``: it replaces the oldest."""
    return b"%s\0%d" % (owner.encode(), count % size)


_EXECUTION: TypeAdapter[Execution] = TypeAdapter(Execution)


def _read_execution(value: bytes) -> Execution:
    """A row of an older version is the report's type as a text: what else the report said is not known."""
    return _EXECUTION.validate_json(value) if value.startswith(b"{") else Execution("")


EXECUTION_CODEC = Codec(msgspec.json.Encoder().encode, _read_execution, _EXECUTION.json_schema)
