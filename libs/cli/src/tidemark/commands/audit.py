"""``tidemark audit``."""

import json
import sys
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from tidemark import console
from tidemark.audit.run import Audit, Report
from tidemark.options import (
    DEFAULT_STATE,
    BootstrapOption,
    PostgresOption,
    RedisOption,
    StateDirOption,
    addresses,
    reader_settings,
)
from tidemark.state import Addresses, StateDir

ROWS_SHOWN_MAX = 10


def audit(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, help="Seconds that copies may take to catch up with the log.")
    ] = 30.0,
    bootstrap: BootstrapOption = None,
    redis: RedisOption = None,
    postgres: PostgresOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Fold the committed ledger anew and compare it with RocksDB, PostgreSQL and Redis; nothing has to stand still.

    Also checks that all entries sum to zero, that no account's sequence has a gap, that nobody is ever overdrawn, that
    every intent and every command was answered exactly once, and that fills and postings are the same. Exits with 1 on
    any difference and shows the first rows that differ.
    """
    where = addresses(StateDir(state_dir), kafka_bootstrap=bootstrap, redis_url=redis, postgres_dsn=postgres)
    report = console.run(run_audit(where, timeout))
    if as_json:
        sys.stdout.write(json.dumps(report.as_dict()) + "\n")
    else:
        show(report)
    if report.violations:
        raise typer.Exit(1)


async def run_audit(where: Addresses, timeout_s: float) -> Report:
    """Runs an audit with a progress bar on standard error."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console.err, transient=True) as progress:
        bar = progress.add_task("", total=None)

        def show_progress(what: str, done: int, of: int) -> None:
            progress.update(bar, description=what, completed=done, total=of or None)

        return await Audit(reader_settings(where), where, show_progress).run(timeout_s)


def show(report: Report) -> None:
    """Prints every comparison, and the first differing rows of each that failed."""
    table = Table("comparison", "compared", "differences", "verdict")
    for column in table.columns[1:3]:
        column.justify = "right"
    for comparison in report.comparisons:
        verdict = "[green]equal[/]" if comparison.is_sound else "[bold red]DIFFERENT[/]"
        table.add_row(comparison.name, f"{comparison.compared:,}", f"{comparison.findings.count:,}", verdict)
    console.out.print(table)
    for comparison in report.comparisons:
        for example in comparison.findings.examples[:ROWS_SHOWN_MAX]:
            console.out.print(f"[red]{escape(comparison.name)}:[/] {escape(example)}")
    console.out.print(
        f"{report.records:,} committed records, {report.accounts:,} accounts, "
        f"{report.orders_accepted:,} orders accepted, {report.orders_denied:,} denied, {report.fills:,} fills, "
        f"Σ of all cash entries {report.ledger_sum_e4} e4"
    )
