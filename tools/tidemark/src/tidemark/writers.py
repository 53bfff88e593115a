"""Rows into a file or a pipe: JSON Lines, CSV or Parquet."""

import json
from collections.abc import Sequence
from typing import IO, Protocol

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from streams.model.message import Message

from tidemark.tabular import Decoder, Format


class Writer(Protocol):
    """Takes batches of records; ``close`` finishes the file, also an empty one."""

    def write(self, messages: Sequence[Message]) -> int:
        """Writes the records' rows and returns how many."""
        ...

    def close(self) -> None: ...


class JsonLinesWriter:
    """One JSON object per row; flushed per batch, so that a pipe sees records as they come."""

    def __init__(self, decoder: Decoder, out: IO[bytes]) -> None:
        self._decoder = decoder
        self._out = out

    def write(self, messages: Sequence[Message]) -> int:
        lines = [json.dumps(row, separators=(",", ":")) for row in self._decoder.rows(messages)]
        if lines:
            self._out.write(("\n".join(lines) + "\n").encode())
            self._out.flush()
        return len(lines)

    def close(self) -> None:
        self._out.flush()


class ArrowWriter:
    """CSV with a header line, or Parquet with one row group per batch."""

    def __init__(self, decoder: Decoder, out: IO[bytes], kind: Format) -> None:
        self._decoder = decoder
        self._out = out
        self._sink: pyarrow.csv.CSVWriter | pyarrow.parquet.ParquetWriter = (
            pyarrow.csv.CSVWriter(out, decoder.columns, write_options=pyarrow.csv.WriteOptions(quoting_style="needed"))
            if kind is Format.CSV
            else pyarrow.parquet.ParquetWriter(out, decoder.columns, compression="zstd")
        )

    def write(self, messages: Sequence[Message]) -> int:
        table: pa.Table = self._decoder.table(messages)
        if table.num_rows:
            self._sink.write_table(table)
            self._out.flush()
        return int(table.num_rows)

    def close(self) -> None:
        self._sink.close()
        self._out.flush()


def writer_for(kind: Format, decoder: Decoder, out: IO[bytes]) -> Writer:
    """The writer of a format."""
    return JsonLinesWriter(decoder, out) if kind is Format.JSONL else ArrowWriter(decoder, out, kind)
