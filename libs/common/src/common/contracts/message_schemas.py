"""Schemas of records: how the bodies of a topic are written, read, and told from those of a newer release."""

from functools import partial
from typing import Annotated, Any, Final, get_args, get_origin

import numpy as np
from pydantic import BaseModel, TypeAdapter
from streams.model.dead_letters import LETTER, DeadLetter, encode_letter
from streams.model.framing import is_framed
from streams.model.topics import Schema

from common.avro.codec import AvroFraming
from common.contracts import market
from common.contracts.newer import is_newer
from common.contracts.span_ids import ids_of


def _letters() -> Schema:
    framing = AvroFraming("dead-letter", 1, DeadLetter)

    def decode(value: bytes) -> DeadLetter:
        return LETTER.validate_json(framing.text(value) if is_framed(value) else value)

    return Schema("dead-letter", decode, encode_letter, LETTER, framing=framing)


DEAD_LETTERS: Final = _letters()
"""The context of what a stage sets aside, with the value: how letters of every topic look that are framed (ADR 53)."""


def json_schema(name: str, of: Any, version: int = 1, *, avro: int | None = None) -> Schema:
    """Schema of messages of a class, or of a union of classes, as JSON or Avro.

    ``avro``: the version that the message has in Avro, where what JSON says more of it, like a pattern, has changed
    since: one content has one id.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(of)
    framing = AvroFraming(name, version if avro is None else avro, of)

    def decode(value: bytes) -> Any:
        return adapter.validate_json(framing.text(value) if is_framed(value) else value)

    def encode(value: BaseModel | bytes) -> bytes:
        return value if isinstance(value, bytes) else value.model_dump_json(exclude_none=True).encode()

    fields = {field for member in get_args(_plain(of)) or (of,) for field in member.model_fields}
    return Schema(
        name, decode, encode, adapter, version, ids_of, partial(is_newer, adapter, fields), framing, DEAD_LETTERS
    )


def _plain(of: Any) -> Any:
    """A class or a union of classes, without what is annotated."""
    return get_args(of)[0] if get_origin(of) is Annotated else of


def rows_schema(name: str, dtype: np.dtype[Any], record: str, *, packed: bool = True) -> Schema:
    """Schema of rows of a structured array.

    ``record``: the name of a row in Avro, where each is a record; ``packed``: as text, several rows are one.
    """
    framing = AvroFraming(record, 1, dtype, packed=packed)

    def decode(value: bytes) -> market.Bars:
        return market.decode_rows(dtype, framing.text(value) if is_framed(value) else value)

    return Schema(name, decode, market.encode_rows, framing=framing, letters=DEAD_LETTERS)
