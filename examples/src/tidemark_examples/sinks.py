"""A sink of one's own: SQLite, one table per topic. Rows and positions are one transaction: no row is there twice."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

from common.sinks import Row, SinkKind, SinkUnavailable


class SqliteSink:
    """A topic of several kinds of record has the columns of all of them, null where a kind has none.

    A column is added when a row first has it. A value that is an object or a list is kept as JSON.
    """

    def __init__(self, topic: str, options: Mapping[str, str]) -> None:
        try:
            self._connection = sqlite3.connect(options.get("file", "tidemark.sqlite"))
            self._connection.execute(
                "create table if not exists positions"
                " (topic text, partition integer, next_offset integer, primary key (topic, partition))"
            )
        except sqlite3.Error as error:
            raise SinkUnavailable(f"{options.get('file')}: {error}") from error
        self._topic = topic
        self._table = _quoted(topic)

    def positions(self) -> Mapping[int, int]:
        chosen = self._connection.execute(
            "select partition, next_offset from positions where topic = ?", (self._topic,)
        )
        return dict(chosen.fetchall())

    def write(self, rows: Sequence[Row], positions: Mapping[int, int]) -> None:
        with self._connection:
            if rows:
                columns = self._columns(rows)
                self._connection.executemany(
                    f"insert into {self._table} ({', '.join(map(_quoted, columns))})"
                    f" values ({', '.join('?' for _ in columns)})",
                    [[_value(row.get(column)) for column in columns] for row in rows],
                )
            self._connection.executemany(
                "insert or replace into positions values (?, ?, ?)",
                [(self._topic, partition, offset) for partition, offset in positions.items()],
            )

    def close(self) -> None:
        self._connection.close()

    def _columns(self, rows: Sequence[Row]) -> list[str]:
        """Columns of ``rows`` in the order in which they appear; the table has each of them when this returns."""
        columns = list(dict.fromkeys(column for row in rows for column in row))
        self._connection.execute(f"create table if not exists {self._table} ({', '.join(map(_quoted, columns))})")
        known = {name for _, name, *_ in self._connection.execute(f"pragma table_info({self._table})")}
        for column in columns:
            if column not in known:
                self._connection.execute(f"alter table {self._table} add column {_quoted(column)}")
        return columns


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _value(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (dict, list, tuple)) else value


SQLITE: Final = SinkKind(
    "sqlite", "a table per topic in an SQLite file", SqliteSink, options={"file": "path; default: tidemark.sqlite"}
)
