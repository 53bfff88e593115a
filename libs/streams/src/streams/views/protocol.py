"""The protocol of views: what is written to Redis for each row that a stage shows, and how current it is.

A view has a name and a scope; both together name one Redis hash (the snapshot: key → envelope) and one Pub/Sub channel
(the deltas: envelopes), ``tm:{name}:{scope}``. Exactly one task publishes a scope, so its ``seq`` is gapless within an
``epoch`` (the publisher's opening time). A subscriber that sees ``prev`` other than its last ``seq``, or another epoch,
reads the snapshot again.

Beside the views each writer says how current they are: ``tm:writer:{service}.{stage}``, a hash (key: partition) and a
channel of ``WriterData``. Its ``epoch`` stands in Redis: where it is missing or another one, Redis has lost what was
written, and the writer fills it anew.
"""

from enum import StrEnum
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

VIEW_PREFIX: Final = "tm"
WRITER_VIEW: Final = "writer"


class RedisState(StrEnum):
    """Treatment of written data by Redis."""

    OK = "ok"
    FULL = "full"
    """``maxmemory`` is reached, and writes are refused."""
    READ_ONLY = "read-only"
    EVICTING = "evicting"
    """``maxmemory`` is reached, and Redis throws rows away."""
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


class ViewModel(BaseModel):
    model_config = ConfigDict(frozen=True)


class HealthData(ViewModel):
    service: str
    worker: str
    ready: bool
    detail: dict[str, Any]
    """Counters and latencies for the health strip; numbers and short strings only."""
    at_ns: int


class WriterData(ViewModel):
    """How current the views of one partition of a writer are."""

    v: Literal[1] = 1
    writer: str
    """``{service}.{stage}``."""
    partition: int
    partitions: int
    """How many partitions the stage has."""
    epoch: int
    """When the views were last written as a whole, wall-clock ns; only ever higher."""
    state: Literal["filling", "live"]
    """``filling``: not every row is in Redis yet."""
    as_of_ns: int
    """Everything that reached the writer before is in Redis, unless it is ``filling``."""
    data_ns: int
    """Newest time of an input record that is in Redis; 0 before the first one."""
    redis: RedisState
    at_ns: int


class Stamps(ViewModel):
    """Wall-clock ns along the path of one message; 0 where it did not pass."""

    origin_ns: int = 0
    """Intended send time of the order, or ingest time of the tick frame."""
    processed_ns: int = 0
    committed_ns: int = 0


class Envelope(ViewModel):
    """Content of the hash and of the channel's message. ``data`` None: the key is gone."""

    v: Literal[1] = 1
    name: str
    scope: str
    key: str
    epoch: int
    seq: int
    prev: int
    data: dict[str, Any] | None
    stamps: Stamps = Stamps()
    traceparent: str = ""


def view_channel(name: str, scope: str) -> str:
    """Redis name of the snapshot hash and of the Pub/Sub channel."""
    return f"{VIEW_PREFIX}:{name}:{scope}"
