"""Personal data in messages: each field is tagged once, where it is declared; what leaves the fleet is masked by it.

Messages name a client by the id of his account alone. The holder of an account is known to the issuer of identities.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter


class Personal(Enum):
    """A kind of personal data."""

    ACCOUNT = "account"
    """An account's id."""
    IN_ACCOUNT = "of an account"
    """An id that begins with its account's and a dot, as an order's does."""
    TEXT = "text"
    """Chosen or written by a person, what he is known by, or a digest of such, by which a guess could be confirmed."""


Tags = Personal | Mapping[str, Any] | None
"""Tag of a value, or of the members of an object by their names; None: it is nobody's."""


def tags_of(message: Any) -> Mapping[str, Tags]:
    """Tags of the fields of a message class, or of a union of classes, all of them."""
    found = _tags(message)
    return found if isinstance(found, Mapping) else {}


def tags_of_adapter(adapter: TypeAdapter[Any]) -> Mapping[str, Tags]:
    """The same of what an adapter reads."""
    return tags_of(adapter._type)


def _tags(annotation: Any) -> Tags:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _first(arguments[1:]) or _tags(arguments[0])
    if origin in (Union, UnionType):
        return _merged([_tags(member) for member in arguments])
    if origin in (tuple, list):
        return _tags(arguments[0])
    if origin is dict:
        return _tags(arguments[1])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {name: _first(each.metadata) or _tags(each.annotation) for name, each in annotation.model_fields.items()}
    return None


def _first(metadata: Any) -> Personal | None:
    return next((each for each in metadata if isinstance(each, Personal)), None)


def _merged(tags: list[Tags]) -> Tags:
    """Tags of the members of a union as one: that of an optional value, or those of all messages."""
    simple = next((each for each in tags if isinstance(each, Personal)), None)
    if simple is not None:
        return simple
    objects = [each for each in tags if isinstance(each, Mapping)]
    return {name: tag for each in objects for name, tag in each.items()} if objects else None


def tagged(tags: Mapping[str, Tags], at: str = "") -> Iterator[tuple[str, Personal]]:
    """Paths of all tagged fields, with dots, in their order."""
    for name, tag in tags.items():
        if isinstance(tag, Personal):
            yield f"{at}{name}", tag
        elif tag is not None:
            yield from tagged(tag, f"{at}{name}.")
