"""Twins of messages: the same fields as a model, read and written by msgspec in a fifth of the time.

A twin is made from its model, which stays the truth. It reads nothing that the model refuses, and gives equal values;
what it refuses itself, such as a record of an older version without a field that has a default, is for the model. It is
written in the very bytes of the model (``tests/common/test_twins.py``). Constraints are held to where a twin is read,
and not where one is made: whoever makes one takes its values from what was read.

To the type checker a twin is its model, of which it has not got the methods: ``replaced`` and ``written`` take either.
"""

from collections.abc import Callable
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, TypeVar, Union, cast, get_args, get_origin

import msgspec
from annotated_types import Ge, Le, MinLen
from msgspec import Meta
from pydantic import BaseModel, StringConstraints
from pydantic.fields import FieldInfo

from common.contracts.personal import Personal

M = TypeVar("M", bound=BaseModel)
NAMES: Final = "Twin"
_encode: Final = msgspec.json.Encoder().encode


class TwinUnsupported(TypeError):
    """A model says of a field what a twin cannot hold to."""


def twin_of(model: type[M], *, nulls: bool = False) -> type[M]:
    """The twin's class, one of each kind; its fields are given by name.

    ``nulls``: fields that are None are written, as views have them. Such a class takes its fields in their order, and
    nothing is read with it.

    Raises TwinUnsupported.
    """
    return cast(type[M], _made(model, nulls))


@cache
def _made(model: type[BaseModel], nulls: bool) -> type[msgspec.Struct]:
    fields: list[Any] = []
    for name, field in model.model_fields.items():
        of = _type_of(field.annotation, field.metadata, f"{model.__name__}.{name}")
        is_optional = field.default is None
        fields.append((name, of, None) if is_optional and not nulls else (name, of))
    return msgspec.defstruct(
        f"{model.__name__}{NAMES}",
        fields,
        frozen=True,
        gc=False,
        kw_only=not nulls,
        omit_defaults=True,
        forbid_unknown_fields=True,
    )


def _type_of(annotation: Any, metadata: list[Any], where: str) -> Any:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_of(args[0], [*args[1:], *metadata], where)
    if origin in (Union, UnionType):
        if len(args) != 2 or NoneType not in args:
            raise TwinUnsupported(f"{where}: {annotation}")
        (of,) = (each for each in args if each is not NoneType)
        return _type_of(of, metadata, where) | None
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return twin_of(annotation)
    if origin is dict:
        return dict[_type_of(args[0], [], where), _type_of(args[1], [], where)]  # type: ignore[misc]
    if origin is not Literal and not isinstance(annotation, type):
        raise TwinUnsupported(f"{where}: {annotation}")
    limits = _limits(metadata, where)
    return Annotated[annotation, Meta(**limits)] if limits else annotation


def _limits(metadata: list[Any], where: str) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    for each in metadata:
        match each:
            case FieldInfo():
                limits |= _limits(each.metadata, where)
            case Ge():
                limits["ge"] = each.ge
            case Le():
                limits["le"] = each.le
            case MinLen():
                limits["min_length"] = each.min_length
            case StringConstraints(pattern=str() as pattern):
                limits["pattern"] = pattern.removesuffix("$") + r"\Z"  # pydantic's $ matches before no line feed
            case Personal():
                pass  # says whose it is, and nothing of its values
            case _ if type(each).__name__ == "Strict":
                pass  # a twin takes no text for a number in any case
            case _:
                raise TwinUnsupported(f"{where}: {each!r}")
    return limits


def reader_of(twin: type[M]) -> Callable[[bytes], M]:
    """Reads JSON. Raises ValueError where it is none that the twin takes."""
    return cast(Callable[[bytes], M], msgspec.json.Decoder(twin).decode)


def written(message: Any) -> bytes:
    """JSON of a model or a twin, without what is None."""
    if isinstance(message, BaseModel):
        return message.model_dump_json(exclude_none=True).encode()
    return _encode(message)


def replaced(message: M, **changes: Any) -> M:
    """A copy of a model or a twin with other values, which are not validated."""
    if isinstance(message, BaseModel):
        return message.model_copy(update=changes)
    return cast(M, msgspec.structs.replace(message, **changes))


def alike(made_of: BaseModel, model: type[M], twin: type[M]) -> type[M]:
    """The class to make a message with: a model of a model, else a twin."""
    return model if isinstance(made_of, BaseModel) else twin


def as_model(message: Any, model: type[M]) -> M:
    """The model of a twin; a model as it is."""
    return message if isinstance(message, model) else model.model_validate_json(written(message))
