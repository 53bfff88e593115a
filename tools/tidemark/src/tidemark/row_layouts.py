"""Exports the layouts of stored rows beside the other contracts, and refuses to change one unnoticed.

    uv run python -m tidemark.row_layouts

They are the rows of every stage's tables, and the tables in PostgreSQL that others than their service read.

A file describes the rows of a stage's changelogged tables in one version for good. Within a version fields may be added
with a default, which both this release and the one before it read; everything else needs ``LAYOUT_VERSION`` of the
stage raised, and a migration: see ``streams.opening.layout``.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Final

from common.contracts.schemas import DIRECTORY, Contract, IncompatibleContractError, export
from orders import lifecycle_rows, projection_columns
from orders.venue import rows as venue_rows
from risk import tables as gate_tables
from signals import event_tables, trader_tables
from streams.model.tables import Changelogged

STAGES: Final[tuple[tuple[str, ModuleType], ...]] = (
    ("orders.lifecycle", lifecycle_rows),
    ("orders.venue", venue_rows),
    ("risk.gate", gate_tables),
    ("signals.events", event_tables),
    ("signals.traders", trader_tables),
)
"""Stages with changelogged tables, and the module that declares these and their ``LAYOUT_VERSION``."""
PROJECTION: Final = "columns-orders.projection"
"""The tables in PostgreSQL that others than the orders service read."""


def contracts() -> tuple[Contract, ...]:
    """The rows of every stage, and the projection's columns, as the code has them now.

    Raises ValueError where a table does not say what its rows are.
    """
    projection = Contract(PROJECTION, projection_columns.COLUMNS_VERSION, "rows", projection_columns.columns())
    return (*(_contract(name, module) for name, module in STAGES), projection)


def _contract(stage: str, module: ModuleType) -> Contract:
    tables = [table for table in module.TABLES if isinstance(table, Changelogged)]
    if silent := [table.name for table in tables if table.codec.layout is None]:
        raise ValueError(f"tables {silent} of {stage} have codecs without a layout")
    document = {table.name: table.codec.layout() for table in tables if table.codec.layout}
    return Contract(f"rows-{stage}", module.LAYOUT_VERSION, "rows", document)


def export_rows(directory: Path = DIRECTORY, of: Iterable[Contract] | None = None) -> list[Path]:
    """Writes the files that differ. Raises IncompatibleContractError before anything is written."""
    return export(directory, contracts() if of is None else of)


def main() -> int:
    """Exports; the exit status is 1 where a layout was changed under its version."""
    try:
        written = export_rows()
    except IncompatibleContractError as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    for file in written:
        sys.stdout.write(f"wrote {file.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
