"""``tidemark demo``."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from parts.browser import is_at_hand
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from tidemark import console
from tidemark.audit.run import Report as AuditReport
from tidemark.commands.audit import show
from tidemark.demo import Demo, DemoOptions
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import file_feed, refusal, synthetic_feed
from tidemark.options import DEFAULT_STATE, StateDirOption
from tidemark.services import FLEET
from tidemark.state import DEMO_STATE, StateDir
from tidemark.up_options import AccessOption, SecureOption
from tidemark.watcher import CLOCKS

HEADLESS_SECONDS = 30.0


def demo(
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=1, help="Trade for so long; default: until Ctrl-C, headless 30.")
    ] = None,
    headless: Annotated[
        bool, typer.Option("--headless", help="No live view; the last line of output is one JSON object.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the market and of the clients.")] = 1,
    rate: Annotated[float, typer.Option("--rate", min=1, help="Market events per second.")] = 5_000,
    symbols: Annotated[int, typer.Option("--symbols", min=2, help="Symbols of the synthetic market.")] = 200,
    feed: Annotated[
        Path | None,
        typer.Option("--feed", exists=True, dir_okay=False, help="An ITCH 5.0 file instead, plain or compressed."),
    ] = None,
    accounts: Annotated[int, typer.Option("--accounts", min=1, help="Client accounts that trade.")] = 200,
    orders_per_s: Annotated[float, typer.Option("--orders", min=0.1, help="Orders and cancels per second.")] = 40,
    browser: Annotated[
        bool | None,
        typer.Option(
            help="Look at the dashboard in a headless Chromium, for the painted clock; default: with --headless, where "
            "one is at hand."
        ),
    ] = None,
    any_ports: Annotated[bool, typer.Option("--any-ports", help="Any free ports instead of the usual ones.")] = False,
    access: AccessOption = True,
    secure: SecureOption = False,
    state_dir: StateDirOption = DEFAULT_STATE / DEMO_STATE,
) -> None:
    """Run everything on this machine: parts, the services, the auditor, a market and a few hundred clients that trade.

    Begins with empty data each time. Everybody is asked who he is, unless --open says otherwise: the dashboard's
    address signs in whoever opens it first, and the clients that trade have tokens. At the end (after --seconds, not on
    Ctrl-C) the audit compares the ledger with every copy of it. Exits with 1 where an invariant is broken. The latency
    clocks count from the intended send time of an order and from the ingest time of a tick; painted needs a browser on
    the dashboard.
    """
    environment = file_feed(feed) if feed is not None else synthetic_feed(seed, rate, symbols)
    with console.reported():
        if (why := refusal(environment)) is not None:
            raise console.CommandError(f"ingest cannot read the feed: {why}")
    wanted = seconds if seconds is not None else (HEADLESS_SECONDS if headless else None)
    looked_at = browser if browser is not None else headless and is_at_hand()
    options = DemoOptions(seed=seed, accounts=accounts, orders_per_s=orders_per_s, seconds=wanted, browser=looked_at)
    deployment = DeploymentOptions(
        feed=environment,
        fresh=True,
        keep=False,
        any_free_ports=any_ports,
        services=FLEET,
        access=access or secure,
        secure=secure,
    )
    summary, audit = console.run(_demo(StateDir(state_dir), deployment, options, headless))
    if headless:
        _explain(audit)
    else:
        show(audit)
    sys.stdout.write(json.dumps(summary) + "\n")
    if summary["violations"]:
        raise typer.Exit(1)


def _explain(audit: AuditReport) -> None:
    for comparison in audit.comparisons:
        for example in comparison.findings.examples:
            console.err.print(f"[red]{escape(comparison.name)}:[/] {escape(example)}")


async def _demo(
    state: StateDir, deploying: DeploymentOptions, options: DemoOptions, headless: bool
) -> tuple[dict[str, Any], AuditReport]:
    def say(text: str) -> None:
        console.err.print(escape(text))

    async with Deployment(state, deploying, say) as deployment:
        url = deployment.dashboard()
        console.err.print(f"dashboard {url}", soft_wrap=True)
        demo = Demo(deployment, options, say)
        if headless:
            await demo.run(lambda _: None)
        else:
            with Live(console=console.err, refresh_per_second=4, transient=True) as live:
                await demo.run(lambda running: live.update(_view(running, url)))
        for line in demo.tally.unexpected:
            say(line)
        columns = (SpinnerColumn(), TextColumn("audit: {task.description}"), TaskProgressColumn())
        with Progress(*columns, console=console.err, transient=True) as progress:
            bar = progress.add_task("", total=None)
            return await demo.conclude(
                lambda what, done, of: progress.update(bar, description=what, completed=done, total=of or None)
            )


def _view(demo: Demo, url: str) -> Group:
    sample, tally = demo.sample, demo.tally
    seconds = sample.at_s - (demo.trading_since_s or sample.at_s)
    head = Text.from_markup(f"[bold]{url}[/]   {seconds:,.0f} s   Ctrl-C ends")
    figures = Table.grid(padding=(0, 3))
    figures.add_row("ticks", f"{sample.ticks:,.0f}", f"{sample.ticks_per_s:,.0f}/s", "bars", f"{sample.bars:,.0f}")
    figures.add_row("orders accepted", f"{tally.accepted:,}", "", "denied", f"{tally.denied:,}")
    figures.add_row("cancels", f"{tally.cancels:,}", "", "no answer", f"{sum(tally.errors.values()):,}")
    clocks = Table("clock, p50 / p99 ms", "orders", "market", box=None, padding=(0, 3))
    for name in CLOCKS:
        cells = (getattr(path, name) for path in (sample.orders, sample.market))
        clocks.add_row(name, *map(str, cells))
    clocks.add_row("verdict over HTTP", str(tally.answered.summary()), "")
    services = Text("  ").join(
        Text(name, style="green" if ready else "bold red") for name, ready in sample.ready.items()
    )
    return Group(head, figures, clocks, services)
