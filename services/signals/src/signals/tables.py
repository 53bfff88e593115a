"""Tables that are written row by row and appear only when they are complete."""

import contextlib
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Protocol, Self

import numpy as np

from signals.domain.csv_kernel import csv_lines
from signals.domain.layout import Array

PARTIAL: Final = ".partial"
"""End of the name of a table that is being written."""
_ROWS_AT_ONCE: Final = 1 << 16
_NO_WORDS: Final[Mapping[str, Array]] = {}


Words = Mapping[str, Array]
"""Words of a column, by its name, that stand for the integers of its rows: 0 is the first."""


class Table(Protocol):
    """Rows of integers; the column ``symbol`` holds the instrument's id."""

    def write(self, numbers: Array, symbols: Array) -> None:
        """Adds the rows of an int64 matrix. ``symbols``: names by id, dtype S16."""
        ...

    def finish(self, symbols: Array) -> None:
        """No row follows."""
        ...


class Tables(Protocol):
    """A place where tables are written."""

    def open(self, name: str, columns: Sequence[str], words: Words = _NO_WORDS) -> Table: ...


class TableFiles(ABC):
    """Files of one directory, each under a name of its own until ``keep`` has all of them replace those of an earlier
    run. As a context manager: whatever was not kept is removed.
    """

    def __init__(self, directory: Path, suffix: str) -> None:
        self._directory = directory
        self._suffix = suffix
        self._paths: list[Path] = []
        self._open = contextlib.ExitStack()
        directory.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def open(self, name: str, columns: Sequence[str], words: Words = _NO_WORDS) -> Table:
        """A new table of that name."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._open.close()
        for path in self._paths:
            self._partial(path).unlink(missing_ok=True)
        self._paths.clear()

    def new_path(self, name: str) -> Path:
        """Path at which the table of that name is written until it is whole."""
        path = self._directory / f"{name}{self._suffix}"
        self._paths.append(path)
        return self._partial(path)

    def closing(self, opened: Any) -> None:
        """``opened`` is closed before the files are kept."""
        self._open.callback(opened.close)

    def keep(self) -> None:
        """All tables are complete: they replace those of an earlier run."""
        self._open.close()
        for path in self._paths:
            self._partial(path).replace(path)
        self._paths.clear()

    @staticmethod
    def _partial(path: Path) -> Path:
        return path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")


class CsvTables(TableFiles):
    """CSV with a line of column names."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, ".csv")

    def open(self, name: str, columns: Sequence[str], words: Words = _NO_WORDS) -> Table:
        file = self.new_path(name).open("wb")
        self.closing(file)
        file.write(",".join(columns).encode() + b"\n")
        return _CsvTable(file, columns, words)


class _CsvTable:
    def __init__(self, file: IO[bytes], columns: Sequence[str], words: Words) -> None:
        self._file = file
        self._symbol_column = list(columns).index("symbol")
        self._words = {list(columns).index(name): listed for name, listed in words.items()}

    def write(self, numbers: Array, symbols: Array) -> None:
        if not self._words:
            self._file.write(csv_lines(numbers, self._symbol_column, symbols))
            return
        words = self._words | {self._symbol_column: symbols}
        for row in numbers.tolist():
            cells = (words[at][cell] if at in words else b"%d" % cell for at, cell in enumerate(row))
            self._file.write(b",".join(cells) + b"\n")

    def finish(self, symbols: Array) -> None:
        pass


class FinalBars:
    """Passes on the last revision of each bar, once all are known, and no bar that has no trade left.

    Rows wait in a temporary file; only restated bars are noted in memory.
    """

    def __init__(self, table: Table, columns: Sequence[str]) -> None:
        self._table = table
        names = ("symbol", "window_start_ns", "window_ns", "revision", "trades")
        self._places = [list(columns).index(name) for name in names]
        self._width = len(columns)
        self._rows = tempfile.TemporaryFile()  # noqa: SIM115
        self._restated: dict[tuple[int, ...], int] = {}

    def write(self, numbers: Array, symbols: Array) -> None:
        self._rows.write(np.ascontiguousarray(numbers).tobytes())
        *_, revision, _ = self._places
        for row in numbers[numbers[:, revision] > 0][:, self._places].tolist():
            self._restated[tuple(row[:3])] = row[3]

    def finish(self, symbols: Array) -> None:
        self._rows.seek(0)
        while raw := self._rows.read(_ROWS_AT_ONCE * self._width * 8):
            numbers = np.frombuffer(raw, np.int64).reshape(-1, self._width)
            *_, trades = self._places
            last = numbers[:, trades] > 0
            if self._restated:
                keys = numbers[:, self._places].tolist()
                last &= np.array([self._restated.get(tuple(key[:3]), 0) == key[3] for key in keys], bool)
            if last.any():
                self._table.write(numbers[last], symbols)
        self._rows.close()
        self._table.finish(symbols)
