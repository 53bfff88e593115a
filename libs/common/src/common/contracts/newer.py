"""Whether JSON that a message's class refuses is sound but for fields that only a newer release has.

JSON names no schema. A record that is right in everything that this release knows, and says something more, was written
by a newer one (or by somebody who means something that this release does not): to set it aside would lose an order.
"""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from pydantic import TypeAdapter, ValidationError

_EXTRA = "extra_forbidden"


def is_newer(adapter: TypeAdapter[Any], fields: Collection[str], value: bytes) -> bool:
    """``fields``: what a message of this release may have at the top, in any member of a union."""
    try:
        datum = msgspec.json.decode(value)
    except ValueError:
        return False
    if not isinstance(datum, dict) or datum.keys().isdisjoint(fields):
        return False
    try:
        adapter.validate_json(value)
    except ValidationError as error:
        more = [each["loc"] for each in error.errors(include_url=False) if each["type"] == _EXTRA]
    else:
        return False
    removed = [_removed(datum, place, fields) for place in more]
    if not any(removed):
        return False
    try:
        adapter.validate_json(msgspec.json.encode(datum))
    except ValidationError:
        return False
    return True


def _removed(message: dict[str, Any], place: Sequence[int | str], fields: Collection[str]) -> bool:
    """Takes a field out; steps of ``place`` that lead nowhere are names of a union's members."""
    *way, name = place
    at: Any = message
    for step in way:
        try:
            at = at[step]
        except (LookupError, TypeError):
            continue
    if not isinstance(at, dict) or (at is message and name in fields):
        return False
    return at.pop(name, None) is not None
