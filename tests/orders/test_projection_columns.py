"""The projection's columns as others are told of them are those that the migrations leave in a real database."""

import asyncpg
from orders.database import Database
from orders.projection_columns import TABLES, columns

NAMES = {"integer": "int", "boolean": "bool"}
"""PostgreSQL's long names of types, and the short ones that the migrations use."""


async def test_columns_are_those_of_the_database(database: Database, postgres_dsn: str) -> None:
    await database.migrate()
    connection = await asyncpg.connect(postgres_dsn)
    try:
        rows = await connection.fetch(
            "SELECT table_name, column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = 'public' AND table_name = ANY($1) ORDER BY table_name, ordinal_position",
            list(TABLES),
        )
    finally:
        await connection.close()
    found: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        found.setdefault(row["table_name"], []).append(
            (row["column_name"], NAMES.get(row["data_type"], row["data_type"]))
        )
    said = {
        table: [(field["name"], field["type"]["type"]) for field in described["fields"]]
        for table, described in columns().items()
    }
    assert said == found


def test_columns_that_were_added_later_have_defaults() -> None:
    orders = {field["name"]: field for field in columns()["orders"]["fields"]}
    assert (orders["decided_ns"]["default"], orders["intent_offset"]["default"]) == ("0", "-1")
    results = {field["name"]: field for field in columns()["command_results"]["fields"]}
    assert results["resting"]["default"] is None
    assert "default" not in orders["reason"], "it was there from the beginning"
