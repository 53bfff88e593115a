"""The values that flow through push: a row of a view, a change of it, and a place in a scope's history.

They are named tuples because tens of thousands a second are made.
"""

from typing import NamedTuple


class Scope(NamedTuple):
    """One Redis hash and its channel (``contracts.views``); one publisher numbers its changes."""

    name: str
    scope: str


class StampsNs(NamedTuple):
    """Wall-clock ns along the path of one change; 0 where it did not pass."""

    origin: int = 0
    processed: int = 0
    committed: int = 0


class Row(NamedTuple):
    """The value of one key. ``data`` is its JSON as it goes to the browser; None: the key is gone."""

    key: str
    data: bytes | None
    stamps: StampsNs
    traceparent: str = ""


class Position(NamedTuple):
    """Position up to which a scope has been seen: the publisher's epoch, and its sequence there."""

    epoch: int
    seq: int


class Delta(NamedTuple):
    """One change as Redis delivered it."""

    scope: Scope
    position: Position
    prev: int
    row: Row
