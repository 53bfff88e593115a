"""Rows of the stages' tables as JSON bytes."""

from typing import Any

from common.reported import Execution
from pydantic import TypeAdapter
from streams.model.tables import Codec


def json_codec(of: Any) -> Codec:
    """A codec for a pydantic model or a dataclass. Decoding raises ValueError where the bytes are of another shape."""
    adapter: TypeAdapter[Any] = TypeAdapter(of)
    return Codec(lambda value: adapter.dump_json(value, exclude_none=True), adapter.validate_json, adapter.json_schema)


TEXT_CODEC = Codec(str.encode, bytes.decode, lambda: {"type": "string"})


def ring_key(owner: str, count: int, size: int) -> bytes:
    """Key of the slot that the ``count``-th entry of an owner takes in a ring of ``size``: it replaces the oldest."""
    return b"%s\0%d" % (owner.encode(), count % size)


_EXECUTION: TypeAdapter[Execution] = TypeAdapter(Execution)


def _read_execution(value: bytes) -> Execution:
    """A row of an older version is the report's type as a text: what else the report said is not known."""
    return _EXECUTION.validate_json(value) if value.startswith(b"{") else Execution("")


EXECUTION_CODEC = Codec(_EXECUTION.dump_json, _read_execution, _EXECUTION.json_schema)
