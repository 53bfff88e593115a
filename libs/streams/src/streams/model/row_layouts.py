"""Shapes of tables' rows, as JSON: for the exported contracts and to notice that they have changed."""

import enum
from typing import Any

import msgspec
from msgspec import NODEFAULT, inspect


def struct_layout(row: Any) -> Any:
    """A msgspec struct. Fields of arrays are told apart by their place alone, so their names are part of this, too."""
    return _described(inspect.type_info(row))


def _described(info: Any) -> Any:
    if hasattr(info, "fields"):  # a struct, a dataclass, a named tuple or a typed dict
        is_array = isinstance(info, inspect.NamedTupleType) or getattr(info, "array_like", False)
        return {"array": is_array, "fields": [_field(field) for field in info.fields]}
    if isinstance(info, inspect.EnumType):
        return {"type": "enum", "values": sorted((member.value for member in info.cls), key=str)}
    if isinstance(info, inspect.Type):
        inner = {name: _described(getattr(info, name)) for name in info.__struct_fields__}
        return {"type": type(info).__name__.removesuffix("Type").lower()} | {
            k: v for k, v in inner.items() if v is not None
        }
    if isinstance(info, tuple | list):
        return [_described(each) for each in info]
    if isinstance(info, type):
        return info.__qualname__
    return info.value if isinstance(info, enum.Enum) else info


def _field(field: inspect.Field) -> dict[str, Any]:
    described = {"name": field.encode_name, "type": _described(field.type)}
    if field.required:
        return described
    default = field.default if field.default is not NODEFAULT else field.default_factory()
    return described | {"default": msgspec.json.decode(msgspec.json.encode(default))}
