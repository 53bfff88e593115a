"""Inputs and outputs of a handler: made for each message, hence structs in C."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from streams.model.topics import Topic

Headers = Sequence[tuple[str, bytes | None]]
"""A header without a value is null in Kafka; bridges and connectors write such."""


class Message(msgspec.Struct, eq=False, gc=False):
    """One input record. ``body`` is decoded by the topic's schema at first use; an error there makes it poison."""

    topic: Topic
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Headers = ()
    _body: Any = None

    @property
    def body(self) -> Any:
        """The decoded value. Raises ValueError where there is none or the schema refuses it."""
        if self._body is None:
            if self.value is None:
                raise ValueError("record without a value")
            self._body = self.topic.schema.decode(self.value)
        return self._body

    @property
    def traceparent(self) -> str:
        """W3C trace context of the sender; empty where there is none."""
        if not self.headers:
            return ""
        for name, value in self.headers:
            if name == "traceparent" and value is not None:
                return value.decode("ascii", "replace")
        return ""


class Output(msgspec.Struct, gc=False):
    """A record to write within the commit. Without ``partition`` the key's murmur2 hash chooses, as in Java clients.

    ``body`` is encoded by the topic's schema; None writes a tombstone. The trace context of the message that is being
    handled is carried on by the runtime.
    """

    topic: Topic
    key: bytes
    body: Any
    partition: int | None = None


class View(msgspec.Struct, gc=False):
    """A view row to show after the commit (see ``view_protocol``). ``data`` None removes the key.

    ``data`` may be a function of the committed tables and the view. It is called when the row is shown, which is less
    often than a busy row changes. ``origin_ns``: intended send time of the order or ingest time of the frame behind it,
    for the latency clocks.
    """

    name: str
    scope: str
    key: str
    data: Any
    origin_ns: int = 0


Handled = Iterable[Output | View]
"""Everything that a handler may return or yield."""
