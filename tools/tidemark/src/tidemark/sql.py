"""SQL over the market's tables in the log and over Parquet files, in DuckDB."""

import contextlib
import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from streams.process.settings import Settings

from tidemark.errors import CommandError
from tidemark.market_tables import TABLES, read_table
from tidemark.tabular import decoder_of

if TYPE_CHECKING:
    import duckdb

FLEET: Final = "fleet"
"""Schema of the tables that are read from the log."""
_GIVEN: Final = "rows_of_the_log"
_WORD: Final = re.compile(r"\w+")


class QueryError(ValueError):
    """The query cannot be carried out; the text is one line."""


class Database:
    """DuckDB in memory: each folder's files are tables of a schema that is called as the folder; ``fleet`` is the log.

    A table that is named without a schema is looked for in the folders, in their order, then in the log.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        try:
            self._duckdb = importlib.import_module("duckdb")
        except ImportError as error:
            raise CommandError("DuckDB is not installed: pip install 'tidemark-cli[sql]'") from error
        self._connection: duckdb.DuckDBPyConnection = self._duckdb.connect(":memory:")
        self._connection.execute("SET python_enable_replacements = false")  # else any variable of ours is a table
        self._schemas = dict[str, set[str]]()
        for folder in folders:
            self._add(folder)
        self._create_schema(FLEET, set(TABLES))
        for name, table in TABLES.items():  # empty: a query is judged by their columns before a log is read
            self._put(name, decoder_of(table.topic).columns.empty_table())
        path = ",".join(f"memory.{_quoted(schema)}" for schema in self._schemas)
        self._connection.execute(f"SET search_path = {_text(path)}")

    def _add(self, folder: Path) -> None:
        files = {file.stem: file for file in sorted(folder.glob("*.parquet"))}
        name = folder.resolve().name
        if not files:
            raise CommandError(f"--parquet {folder}: there are no Parquet files")
        if name in {*self._schemas, FLEET}:
            raise CommandError(f"--parquet {folder}: there is a schema {name!r} already; rename the folder")
        self._create_schema(name, set(files))
        for stem, file in files.items():
            try:
                self._connection.execute(
                    f"CREATE VIEW {_quoted(name)}.{_quoted(stem)} AS FROM read_parquet({_text(str(file))})"
                )
            except self._duckdb.Error as error:
                raise CommandError(f"--parquet {file}: {_one_line(error)}") from error

    def _create_schema(self, name: str, tables: set[str]) -> None:
        self._connection.execute(f"CREATE SCHEMA {_quoted(name)}")
        self._schemas[name] = {table.lower() for table in tables}

    def wanted(self, query: str) -> set[str]:
        """Tables of the log that the query may be about. Raises QueryError for no SQL and for unknown names.

        Each name that it says anywhere counts: one that is only an alias has a topic read for nothing, no worse.
        """
        try:
            if len(self._connection.extract_statements(query)) != 1:
                raise QueryError("a single statement is asked for")
            with contextlib.suppress(self._duckdb.ParserException):  # it is SQL, and can only not be explained
                self._connection.execute(f"EXPLAIN {query}")
        except self._duckdb.Error as error:
            raise QueryError(_one_line(error)) from error
        words = set(_WORD.findall(query.lower()))
        in_folders = set[str]().union(*(tables for name, tables in self._schemas.items() if name != FLEET))
        return {name for name in words & set(TABLES) if FLEET in words or name not in in_folders}

    async def read(self, settings: Settings, names: set[str], *, revisions: bool = False) -> None:
        """Reads tables from the log, to its committed end as it is now. Raises LogError, CommandError."""
        for name in sorted(names):
            self._put(name, await read_table(settings, name, revisions=revisions))

    def _put(self, name: str, rows: pa.Table) -> None:
        self._connection.register(_GIVEN, rows)
        self._connection.execute(f"CREATE OR REPLACE TABLE {FLEET}.{_quoted(name)} AS FROM {_GIVEN}")
        self._connection.unregister(_GIVEN)

    def answer(self, query: str) -> tuple[list[str], list[tuple[object, ...]]]:
        """Names of the columns, and the rows. Raises QueryError."""
        try:
            asked = self._connection.execute(query)
            return [name for name, *_ in asked.description or ()], asked.fetchall()
        except self._duckdb.Error as error:
            raise QueryError(_one_line(error)) from error


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _one_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
