"""Rows of a numpy layout as Avro records: one schema from the layout, one record a row.

| layout | Avro |
|---|---|
| ``S``, zeros at its end left out | string |
| integers of more than a byte | long; of an unsigned one of eight bytes, the same 64 bits |
| one byte (FIX and ITCH codes) | string of one character, empty for 0 |
| a repeated record | array of it; rows of zeros at its end are left out |

Fields called ``reserved`` are left out.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

NAMESPACE: Final = "tidemark"
_RESERVED: Final = "reserved"
_UNSIGNED: Final = np.dtype("<u8")
Dtype = np.dtype[Any]


def schema_of_rows(name: str, dtype: Dtype) -> dict[str, Any]:
    """A record of this name. Raises TypeError where a field of the layout has no Avro type."""
    fields = [_field(name, field, of) for field, of in _fields(dtype)]
    return {"type": "record", "name": name, "namespace": NAMESPACE, "fields": fields}


def _fields(dtype: Dtype) -> list[tuple[str, Dtype]]:
    return [(name, dtype[name]) for name in dtype.names or () if name != _RESERVED]


def _field(record: str, name: str, of: Dtype) -> dict[str, Any]:
    document: dict[str, Any] = {"name": name, "type": _type(f"{record}{name.capitalize()}", of)}
    if (unit := name.rpartition("_")[2]) in ("ns", "e4"):
        document["unit"] = unit
    return document


def _type(name: str, of: Dtype) -> Any:
    if of.subdtype is not None and of.base.names:
        return {"type": "array", "items": schema_of_rows(name, of.base)}
    if of.kind == "S" or of == np.dtype("u1"):
        return "string"
    if of.kind in "iu" and of.subdtype is None:
        return "long"
    raise TypeError(f"{name}: {of} has no Avro type")


def datum_of(dtype: Dtype) -> Callable[[Any], dict[str, Any]]:
    """Makes a record of a row."""
    fields = [(name, _to_avro(of)) for name, of in _fields(dtype)]
    return lambda row: {name: convert(row[name]) for name, convert in fields}


def _to_avro(of: Dtype) -> Callable[[Any], Any]:
    if of.subdtype is not None:
        inner = datum_of(of.base)

        def rows(array: Any) -> list[dict[str, Any]]:
            used = np.flatnonzero(array.view(np.uint8).reshape(len(array), -1).any(axis=1))
            return [inner(row) for row in array[: used[-1] + 1 if used.size else 0]]

        return rows
    if of.kind == "S":
        return lambda value: value.decode("latin-1")
    if of == np.dtype("u1"):
        return lambda value: chr(value) if value else ""
    if of == _UNSIGNED:
        return lambda value: int(value.astype(np.int64))
    return int


def row_of(dtype: Dtype) -> Callable[[Mapping[str, Any]], bytes]:
    """Makes the bytes of a row of a record. Raises ValueError where a value does not fit."""
    fill = _filler(dtype)

    def row(datum: Mapping[str, Any]) -> bytes:
        made = np.zeros(1, dtype)
        try:
            fill(made[0], datum)
        except (OverflowError, TypeError, IndexError, UnicodeEncodeError) as error:
            raise ValueError(f"no row: {error!r}") from error
        return made.tobytes()

    return row


def _filler(dtype: Dtype) -> Callable[[Any, Mapping[str, Any]], None]:
    fields = [(name, of, _filler(of.base) if of.subdtype is not None else None) for name, of in _fields(dtype)]

    def fill(row: Any, datum: Mapping[str, Any]) -> None:
        for name, of, inner in fields:
            value = datum[name]
            if inner is not None:
                for number, each in enumerate(value):
                    inner(row[name][number], each)
            elif of.kind == "S":
                encoded = value.encode("latin-1")
                if len(encoded) > of.itemsize:
                    raise ValueError(f"{name}: {len(encoded)} bytes, there is room for {of.itemsize}")
                row[name] = encoded
            elif of == np.dtype("u1"):
                row[name] = ord(value) if value else 0
            elif of == _UNSIGNED:
                row[name] = np.int64(value).astype(np.uint64)
            else:
                row[name] = value

    return fill
