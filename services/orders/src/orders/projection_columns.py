"""The projection's tables as others may read them: a contract, exported beside the others and held to them.

The auditor compares these tables with the log, so a column that it reads is not taken away unnoticed. The columns are
read from the migrations; a test holds the answer to a real database.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from orders.database import migrations

COLUMNS_VERSION: Final = 1
"""Raised where a column is taken away or means something else; columns that are added change nothing for a reader."""
TABLES: Final = (
    *("accounts", "balances", "command_results", "decisions", "executions", "ledger_entries", "order_events", "orders"),
    "projection_positions",
)
"""Those that others read; how a rebuild goes on is the projection's own."""
_STATEMENT: Final = re.compile(
    r"^CREATE TABLE (?P<made>\w+) \(\n(?P<columns>.*?)\n\);|^ALTER TABLE (?P<grown>\w+) ADD COLUMN (?P<column>[^;]+);",
    re.MULTILINE | re.DOTALL,
)
_COLUMN: Final = re.compile(r"^\s*(?P<name>[a-z]\w*)\s+(?P<type>[a-z]+)(?P<rest>.*?),?$")


def columns() -> dict[str, Any]:
    """Table → its columns: name, type and, where there is one, the default. Described as layouts of rows are."""
    found: dict[str, list[dict[str, Any]]] = {}
    for _, _, statements in migrations():
        for statement in _STATEMENT.finditer(statements):
            if statement["made"]:
                found[statement["made"]] = list(_described(statement["columns"].splitlines(), added=False))
            else:
                found[statement["grown"]] += _described([statement["column"]], added=True)
    return {table: {"array": False, "fields": found[table]} for table in TABLES}


def _described(lines: list[str], *, added: bool) -> Iterator[dict[str, Any]]:
    for line in lines:
        if (column := _COLUMN.match(line)) is None:  # a constraint of the table
            continue
        described: dict[str, Any] = {"name": column["name"], "type": {"type": column["type"]}}
        default = re.search(r"DEFAULT (\S+)", column["rest"])
        if default or (added and "NOT NULL" not in column["rest"]):
            described["default"] = default[1] if default else None
        yield described
