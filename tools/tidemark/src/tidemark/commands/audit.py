"""``tidemark audit``."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from common.ledger.chain import Head, as_dict, head_text
from rich.markup import escape
from rich.table import Table

from tidemark import console
from tidemark.audit.run import Audit, Report
from tidemark.audit.verify import ChainReport, kept_heads, verify_files, verify_log
from tidemark.audit.who import NS_PER_S, Recorded, read_records
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
FINDINGS_SHOWN_MAX = 20


def audit(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="With --verify-chain: exports of risk.ledger as JSON Lines; default: the committed log."),
    ] = None,
    verify_chain: Annotated[
        bool, typer.Option("--verify-chain", help="Only follow the ledger's hash chain; exports need no broker.")
    ] = False,
    head: Annotated[
        list[str] | None,
        typer.Option("--head", help="With --verify-chain: PARTITION=NUMBER:HASH, as an earlier run printed it."),
    ] = None,
    heads: Annotated[Path | None, typer.Option("--heads", help="With --verify-chain: a file of heads.")] = None,
    who: Annotated[bool, typer.Option("--who", help="Only list who gave which command.")] = False,
    since: Annotated[datetime | None, typer.Option("--since", help="With --who: decided from then on (UTC).")] = None,
    subject: Annotated[str, typer.Option("--subject", help="With --who: given by this person or program.")] = "",
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
    every intent and every command was answered exactly once, and that every fill is posted or a break. Exits with 1 on
    any difference and shows the first rows that differ; an open break is no difference, and is counted.

    With --verify-chain it follows the hash chain of every partition instead, in an export or in the log, and names the
    first entry that was altered, dropped or moved. It prints each partition's head: kept elsewhere and given back with
    --head or --heads, it also shows whether the end was cut off or all of it was chained anew.

    With --who it lists commands on accounts, limits and trading states: who gave them, by which program, from where,
    and what became of them. Exits with 1 where a record was altered, dropped or moved.
    """
    if not who and (since or subject):
        raise typer.BadParameter("--since and --subject are for --who")
    if not verify_chain and (files or head or heads):
        raise typer.BadParameter("files and heads are for --verify-chain")
    where = addresses(StateDir(state_dir), kafka_bootstrap=bootstrap, redis_url=redis, postgres_dsn=postgres)
    if verify_chain:
        _verify_chain(files or [], head or [], heads, where, as_json)
        return
    if who:
        began = since.replace(tzinfo=UTC) if since is not None and since.tzinfo is None else since
        _who(console.run(read_records(reader_settings(where), began, subject)), as_json)
        return
    report = console.run(run_audit(where, timeout))
    if as_json:
        sys.stdout.write(json.dumps(report.as_dict()) + "\n")
    else:
        show(report)
    if report.violations:
        raise typer.Exit(1)


def _who(recorded: Recorded, as_json: bool) -> None:
    if as_json:
        rows = [record.model_dump(mode="json", exclude_none=True) for record in recorded.records]
        faults = [as_dict(finding) for finding in recorded.findings]
        sys.stdout.write(json.dumps({"records": recorded.count, "commands": rows, "faults": faults}) + "\n")
    else:
        table = Table("decided (UTC)", "subject", "program", "from", "account", "command", "id", "answer")
        for record in recorded.records:
            at = datetime.fromtimestamp(record.decided_ns / NS_PER_S, UTC).isoformat(timespec="milliseconds")
            answer = "accepted" if record.accepted else f"denied: {record.reason}"
            said = (record.who.subject, record.who.client, record.who.address, record.account_id)
            table.add_row(at, *map(escape, said), record.type, escape(record.command_id), answer)
        console.out.print(table)
        for finding in recorded.findings:
            console.err.print(f"[bold red]{finding.fault}:[/] {escape(str(finding))}")
    if recorded.findings:
        raise typer.Exit(1)


def _verify_chain(files: list[Path], head: list[str], heads: Path | None, where: Addresses, as_json: bool) -> None:
    with console.reported():
        kept = kept_heads(head, heads)
        report = verify_files(files, kept) if files else None
    if report is None:
        report = console.run(run_verify_log(where, kept))
    if as_json:
        sys.stdout.write(json.dumps(report.as_dict()) + "\n")
    else:
        show_chain(report)
    if report.findings:
        raise typer.Exit(1)


def show_chain(report: ChainReport) -> None:
    """Prints the heads, one a line as ``--heads`` takes them, and what was found on standard error."""
    for partition, head in report.heads.items():
        sys.stdout.write(head_text(partition, head) + "\n")
    for finding in report.findings[:FINDINGS_SHOWN_MAX]:
        console.err.print(f"[bold red]{finding.fault}:[/] {escape(str(finding))}")
    if len(report.findings) > FINDINGS_SHOWN_MAX:
        console.err.print(f"… and {len(report.findings) - FINDINGS_SHOWN_MAX:,} more")
    verdict = f"[bold red]{len(report.findings):,} faults[/]" if report.findings else "[green]the chain is whole[/]"
    console.err.print(f"{report.entries:,} entries: {verdict}")


async def run_audit(where: Addresses, timeout_s: float) -> Report:
    """Runs an audit with a progress bar on standard error."""
    with console.progress() as show_progress:
        return await Audit(reader_settings(where), where, show_progress).run(timeout_s)


async def run_verify_log(where: Addresses, heads: list[tuple[int, Head]]) -> ChainReport:
    """Follows the chain of the log with a progress bar on standard error."""
    with console.progress() as show_progress:
        return await verify_log(reader_settings(where), where, heads, show_progress)


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
        f"{report.breaks_open:,} open breaks, Σ of all cash entries {report.ledger_sum_e4} e4"
    )
