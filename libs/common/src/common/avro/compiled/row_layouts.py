"""Rows of a fixed layout (bars, depths, marks) as Avro records, one for each row: the bytes of ``common.avro.rows``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from common.avro.compiled.schema_tree import SchemaUnsupported, under
from common.avro.compiled.writer import Encoded, Writer, writer
from common.avro.rows import schema_of_rows

Array = npt.NDArray[Any]
_BYTE: Final = np.dtype("u1")


@dataclass(frozen=True, eq=False, slots=True)
class LayoutWriter:
    """Writes rows of ``layout``."""

    layout: np.dtype[Any]
    schema: Mapping[str, Any]
    writer: Writer

    def write(self, rows: Array, schema_id: int) -> Encoded:
        """Encodes each row. Raises ValueUnfit, for texts that are no ASCII too, and TypeError for another layout's."""
        if rows.dtype != self.layout:
            raise TypeError(f"these are not rows of the layout: {rows.dtype}")
        whole = np.ascontiguousarray(rows)
        columns = np.zeros(len(whole), self.writer.row)
        begins = np.arange(len(whole)) * self.layout.itemsize
        items: list[Array] = []
        for name in (field["name"] for field in self.schema["fields"]):
            values, of = whole[name], self.layout[name]
            if name in self.writer.items:
                items.append(self._items(values, columns, name))
            elif of == _BYTE or of.kind == "S":
                begin = begins + (self.layout.fields or {})[name][1]
                columns[under(name, "begin")] = begin
                columns[under(name, "end")] = begin + (values != 0 if of == _BYTE else np.strings.str_len(values))
            else:
                columns[name] = values
        return self.writer.write(columns, whole.view(np.uint8).reshape(-1), schema_id, items)

    def _items(self, within: Array, columns: Array, name: str) -> Array:
        """All of them, of which each row has those up to its last that is not zeros."""
        count, room = within.shape
        items = np.empty(within.size, self.writer.items[name])
        for column in items.dtype.names or ():
            items[column] = within[column.rpartition(".")[2]].reshape(-1)
        bytes_of = np.ascontiguousarray(within).view(np.uint8).reshape(count, room, within.dtype.itemsize)
        used = (bytes_of.any(axis=2) * np.arange(1, room + 1)).max(axis=1, initial=0)
        columns[under(name, "begin")] = begins = np.arange(count) * room
        columns[under(name, "end")] = begins + used
        return items


def layout_writer(name: str, layout: np.dtype[Any]) -> LayoutWriter:
    """A writer of the record ``name``. Raises SchemaUnsupported where rows in a row have texts, or others in them."""
    schema = schema_of_rows(name, layout)
    made = writer(schema)
    for path, of in made.items.items():
        columns = of.names or ()
        if len(columns) != len(layout[path].base.names or ()) or any(of[column] != np.int64 for column in columns):
            raise SchemaUnsupported(f"{path}: only numbers are written of rows in a row")
    return LayoutWriter(layout, schema, made)
