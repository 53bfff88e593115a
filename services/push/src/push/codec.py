"""Envelopes in, messages to the browser out. Rows are encoded once, whoever and how many receive them."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from push.domain.outbox import Change, Snapshot
from push.domain.rows import Delta, Position, Row, Scope, StampsNs

PROTOCOL_VERSION: Final = 1
_NO_STAMPS: Final = StampsNs()


class EnvelopeError(ValueError):
    """The bytes are no envelope of a version we know."""


def decode_envelope(payload: bytes) -> Delta:
    """One ``contracts.views.Envelope``. Raises EnvelopeError.

    By hand: a busy market brings tens of thousands a second, and models take several times as long.
    """
    try:
        envelope = orjson.loads(payload)
        if envelope["v"] != 1:
            raise EnvelopeError(f"version {envelope['v']!r}")
        data = envelope["data"]
        stamps = envelope.get("stamps")
        if not (data is None or isinstance(data, dict)):
            raise EnvelopeError("data is no object")
        return Delta(
            Scope(str(envelope["name"]), str(envelope["scope"])),
            Position(int(envelope["epoch"]), int(envelope["seq"])),
            int(envelope["prev"]),
            Row(
                str(envelope["key"]),
                None if data is None else orjson.dumps(data),
                StampsNs(stamps["origin_ns"], stamps["processed_ns"], stamps["committed_ns"]) if stamps else _NO_STAMPS,
                str(envelope.get("traceparent", "")),
            ),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise EnvelopeError(str(error)) from error


def encode_hello(session: int, settings: Mapping[str, Any]) -> bytes:
    """The first message of a connection. ``session`` names it; its topics are numbered within it."""
    return orjson.dumps(
        {"op": "hello", "v": PROTOCOL_VERSION, "session": session, "now_ns": time.time_ns(), **settings}
    )


def encode_snapshot(snapshot: Snapshot, epoch: int) -> bytes:
    """A topic from scratch."""
    rows = {row.key: _fragment(row) for row in snapshot.rows}
    message = {"op": "snapshot", "topic": str(snapshot.topic), "epoch": epoch, "seq": snapshot.seq, "rows": rows}
    return orjson.dumps(message)


def encode_frame(changes: Sequence[Change], traceparents: Mapping[int, str], sent_ns: int) -> bytes:
    """Everything that changed, in one message. ``traceparents`` holds push's span of each traced change, by index."""
    deltas = []
    for index, change in enumerate(changes):
        delta: dict[str, Any] = {
            "topic": str(change.topic),
            "seq": change.seq,
            "prev": change.prev,
            "rows": {row.key: _fragment(row) for row in change.rows},
        }
        if change.stamps.origin:
            delta["stamps"] = {
                "origin_ns": change.stamps.origin,
                "processed_ns": change.stamps.processed,
                "committed_ns": change.stamps.committed,
            }
        if index in traceparents:
            delta["traceparent"] = traceparents[index]
        deltas.append(delta)
    return orjson.dumps({"op": "frame", "deltas": deltas, "sent_ns": sent_ns})


def encode_me(me: Mapping[str, Any]) -> bytes:
    """The answer to a client that has said who it is: ``common.access.http.Me``."""
    return orjson.dumps({"op": "me", **me})


def encode_pong(t: float) -> bytes:
    """The answer to a client's ping, from which it learns the server's clock."""
    return orjson.dumps({"op": "pong", "t": t, "now_ns": time.time_ns()})


def encode_error(reason: str, topic: str | None = None) -> bytes:
    """A client's message was refused; the connection stays."""
    return orjson.dumps({"op": "error", "reason": reason} | ({"topic": topic} if topic is not None else {}))


def encode_status(status: Mapping[str, Any]) -> bytes:
    """State of push itself: its link to Redis, rates and latencies."""
    return orjson.dumps({"op": "health", "now_ns": time.time_ns(), **status})


def _fragment(row: Row) -> Any:
    return None if row.data is None else orjson.Fragment(row.data)
