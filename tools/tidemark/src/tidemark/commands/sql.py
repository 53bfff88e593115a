"""``tidemark sql``."""

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from tidemark import console
from tidemark.options import DEFAULT_STATE, BootstrapOption, StateDirOption, addresses, reader_settings
from tidemark.sql import Database, QueryError
from tidemark.state import StateDir

Rows = Sequence[Sequence[Any]]


def sql(
    query: Annotated[str, typer.Argument(help="One statement of DuckDB's SQL; - reads it from standard input.")],
    parquet: Annotated[
        list[Path] | None,
        typer.Option("--parquet", help="A folder of `replay --out-format parquet`; its files are tables. Repeatable."),
    ] = None,
    revisions: Annotated[
        bool, typer.Option("--revisions", help="Of the log all rows, those too that later ones replaced.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV with a line of names.")] = False,
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Ask bars, alerts and marks of the log in SQL, read to its end as it is now, and tables in Parquet files.

    A table of a folder goes before that of the log: fleet.bars is always the log's, FOLDER.bars the folder's. Prices
    are integers in 1e-4 currency units, times ns since the epoch. A query that cannot be carried out ends with 2.
    """
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    with console.reported():
        try:
            text = sys.stdin.read() if query == "-" else query
            database = Database(parquet or ())
            if names := database.wanted(text):
                settings = reader_settings(addresses(StateDir(state_dir), kafka_bootstrap=bootstrap))
                console.run(database.read(settings, names, revisions=revisions))
            columns, rows = database.answer(text)
        except QueryError as error:
            console.err.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
            raise typer.Exit(2) from None
        (_print_json if as_json else _print_csv if as_csv else _print_table)(columns, rows)


def _print_json(columns: Sequence[str], rows: Rows) -> None:
    for row in rows:
        print(json.dumps(dict(zip(columns, row, strict=True)), default=str, separators=(",", ":")))


def _print_csv(columns: Sequence[str], rows: Rows) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)


def _print_table(columns: Sequence[str], rows: Rows) -> None:
    """In columns as wide as their widest cell, numbers to the right."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    is_number = [all(isinstance(row[at], int | float) for row in rows) for at in range(len(columns))]
    for line in (columns, ["-" * width for width in widths], *cells):
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, is_number, strict=True)
        )
        print("  ".join(padded).rstrip())
