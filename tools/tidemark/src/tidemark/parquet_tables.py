"""Tables as Parquet files."""

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from signals.domain.layout import Array
from signals.tables import Table, TableFiles, Words

ROWS_MAX = 1 << 17
"""Rows that wait until they are written as one row group."""


class ParquetTables(TableFiles):
    """One file of each table; prices are integers of 1/10,000, times ns since the epoch, symbols text."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, ".parquet")

    def open(self, name: str, columns: Sequence[str], words: Words = MappingProxyType({})) -> Table:
        of_words = {"symbol", *words}
        fields = [pa.field(column, pa.string() if column in of_words else pa.int64()) for column in columns]
        table = _ParquetTable(self.new_path(name), pa.schema(fields), words)
        self.closing(table)
        return table


class _ParquetTable:
    def __init__(self, path: Path, schema: pa.Schema, words: Words) -> None:
        self._schema = schema
        self._words = words
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=["symbol"])
        self._waiting: list[Array] = []
        self._rows = 0
        self._symbols: Array = np.zeros(0, "S16")

    def write(self, numbers: Array, symbols: Array) -> None:
        self._waiting.append(numbers.copy())
        self._rows += len(numbers)
        self._symbols = symbols  # an instrument's id keeps its name, so those of the last write are those of all
        if self._rows >= ROWS_MAX:
            self._flush()

    def finish(self, symbols: Array) -> None:
        pass

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if not self._waiting:
            return
        numbers, columns = np.concatenate(self._waiting), []
        for place, field in enumerate(self._schema):
            values = np.ascontiguousarray(numbers[:, place])
            if field.name == "symbol" or field.name in self._words:
                ids, codes = np.unique(values, return_inverse=True)
                words = self._words.get(field.name, self._symbols)
                names = pa.array([words[one].decode() for one in ids.tolist()], pa.string())
                columns.append(names.take(pa.array(codes)))
            else:
                columns.append(pa.array(values))
        self._writer.write_table(pa.table(columns, schema=self._schema), row_group_size=self._rows)
        self._waiting, self._rows = [], 0
