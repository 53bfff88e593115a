"""Values that are the same in every record, encoded when a writer is composed."""

from typing import Any

from common.avro.compiled.pieces import INT_MAX, INT_MIN, varint
from common.avro.compiled.schema_tree import Items, Kind, Node, Nullable, Record, Scalar
from common.contracts.values import INT64_MAX


def encoded(node: Node, value: Any, at: str) -> bytes:
    """The value in Avro's binary encoding. Raises ValueError where it is none of the type."""
    match node:
        case Nullable(of, null_at):
            if value is None:
                return varint(null_at)
            return varint(node.given_at) + encoded(of, value, at)
        case Record(fields):
            if value.keys() != {name for name, _ in fields}:
                raise ValueError(f"{at}: {value!r} does not have the fields of the record")
            return b"".join(encoded(field, value[name], f"{at}.{name}") for name, field in fields)
        case Items(item, keyed):
            items = [_item(item, keyed, each, at) for each in (value.items() if keyed else value)]
            return (varint(len(items)) if items else b"") + b"".join(items) + varint(0)
        case Scalar():
            return _scalar(node, value, at)


def _item(node: Node, keyed: bool, item: Any, at: str) -> bytes:
    if not keyed:
        return encoded(node, item, at)
    key, value = item
    return _text(key.encode()) + encoded(node, value, at)


def _text(value: bytes) -> bytes:
    return varint(len(value)) + value


def _scalar(node: Scalar, value: Any, at: str) -> bytes:
    match node.kind, value:
        case Kind.BOOLEAN, bool():
            return bytes([value])
        case Kind.LONG, int() if -INT64_MAX - 1 <= value <= INT64_MAX and not isinstance(value, bool):
            return varint(value)
        case Kind.INT, int() if INT_MIN <= value <= INT_MAX and not isinstance(value, bool):
            return varint(value)
        case Kind.ENUM, str() if value in node.symbols:
            return varint(node.symbols.index(value))
        case Kind.STRING, str():
            return _text(value.encode())
        case Kind.BYTES, bytes():
            return _text(value)
        case Kind.FIXED, bytes() if len(value) == node.size:
            return value
        case _:
            raise ValueError(f"{at}: {value!r} is no {node.kind}")
