"""``tidemark calibrate``: a day's orders under other limits, and the verdicts that change."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final

import typer
from common.checks.check import CheckChain
from rich.markup import escape
from rich.table import Table
from risk.calibration import Change, Scenario, calibrated
from streams.process.settings import Settings

from tidemark import console
from tidemark.commands.explain import decided, gate_here
from tidemark.evidence import gathered
from tidemark.options import DEFAULT_STATE, BootstrapOption, StateDirOption, addresses, reader_settings
from tidemark.state import StateDir

NS_PER_S: Final = 1_000_000_000
BPS_PER_PERCENT: Final = 100
SHOWN_MAX: Final = 40
DENIED: Final = "would be denied"
LET_PASS: Final = "would pass"
OTHER_REASON: Final = "denied for another reason"
KINDS: Final = (DENIED, LET_PASS, OTHER_REASON)
COLLARS: Final = ("limit_collar_bps", "market_collar_bps")


def calibrate(
    collar: Annotated[
        str, typer.Option("--collar", help="Collars of LIMIT and MARKET orders, like 3%,5%: one scenario each.")
    ] = "",
    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--limit", help="NAME=VALUE[,VALUE…], as `tidemark controls propose` takes them: one scenario each."
        ),
    ] = None,
    day: Annotated[
        datetime | None,
        typer.Option("--day", formats=["%Y-%m-%d"], help="Orders decided on this day of UTC; default: all."),
    ] = None,
    account: Annotated[str | None, typer.Option("--account", help="Orders of this account alone.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a changed verdict instead of tables.")
    ] = False,
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Judge orders that were decided once more, under other limits, and list the verdicts that change.

    A scenario takes the place of what was said of every order, by whomever. Each order meets the account, the mark and
    the hour that it met; what a scenario would have let pass has no fills to follow. Nothing is sent or written.
    """
    settings = reader_settings(addresses(StateDir(state_dir), kafka_bootstrap=bootstrap))
    scenarios = scenarios_of(collar, limit or [])
    with console.reported():
        gate = gate_here()
    console.run(_calibrate(settings, gate, scenarios, day, account, as_json))


def scenarios_of(collar: str, limits: Sequence[str]) -> list[Scenario]:
    """Raises BadParameter for what is no scenario, or where there is none."""
    made = [Scenario(f"collar {each}", dict.fromkeys(COLLARS, _bps(each))) for each in filter(None, collar.split(","))]
    for said in limits:
        name, _, values = said.partition("=")
        for value in values.split(","):
            try:
                made.append(Scenario(f"{name}={value}", {name: int(value)}))
            except ValueError:
                raise typer.BadParameter(f"{said!r} is not NAME=VALUE[,VALUE…] with whole numbers") from None
    if not made:
        raise typer.BadParameter("name at least one --collar or --limit")
    return made


def _bps(percent: str) -> int:
    try:
        bps = Decimal(percent.strip().removesuffix("%")) * BPS_PER_PERCENT
    except InvalidOperation:
        raise typer.BadParameter(f"{percent!r} is no percentage, like 3% or 2.5%") from None
    if bps != int(bps):
        raise typer.BadParameter(f"{percent} is finer than a hundredth of a per cent")
    return int(bps)


async def _calibrate(
    settings: Settings,
    gate: CheckChain,
    scenarios: Sequence[Scenario],
    day: datetime | None,
    account: str | None,
    as_json: bool,
) -> None:
    within = _span(day)
    orders = 0
    changes: list[Change] = []
    try:
        for executed, changed in calibrated(decided(await gathered(settings, account), gate), scenarios, gate):
            if within[0] <= executed.said.decided_ns < within[1]:
                orders += 1
                changes += changed
    except ValueError as error:
        raise console.CommandError(str(error)) from error
    if as_json:
        for change in changes:
            sys.stdout.write(json.dumps(facts_of(change)) + "\n")
        return
    _print(orders, changes, scenarios)


def _span(day: datetime | None) -> tuple[float, float]:
    """Begin and end in nanoseconds."""
    if day is None:
        return 0, float("inf")
    begin = day.replace(tzinfo=UTC)
    return int(begin.timestamp()) * NS_PER_S, int((begin + timedelta(days=1)).timestamp()) * NS_PER_S


def facts_of(change: Change) -> dict[str, Any]:
    said, denial = change.executed.said, change.verdict.denial
    return {
        "scenario": change.scenario.name,
        "order_id": said.order_id,
        "symbol": said.intent.symbol,
        "decided_ns": said.decided_ns,
        "was": said.reason or "accepted",
        "would_be": "accepted" if denial is None else denial.reason,
        "compared": {} if denial is None else denial.compared,
    }


def _print(orders: int, changes: Sequence[Change], scenarios: Sequence[Scenario]) -> None:
    listed = Table("scenario", "order", "symbol", "was", "would be", "numbers")
    for change in changes[:SHOWN_MAX]:
        facts = facts_of(change)
        cells = (*(facts[name] for name in ("scenario", "order_id", "symbol", "was", "would_be")), facts["compared"])
        listed.add_row(*(escape(cell if isinstance(cell, str) else json.dumps(cell)) for cell in cells))
    if changes:
        console.out.print(listed)
    if len(changes) > SHOWN_MAX:
        console.out.print(f"… and {len(changes) - SHOWN_MAX} more; --json prints all")
    kinds = Counter((each.scenario.name, _kind_of(each)) for each in changes)
    summary = Table("scenario", "orders", *KINDS)
    for scenario in scenarios:
        summary.add_row(scenario.name, str(orders), *(str(kinds[scenario.name, kind]) for kind in KINDS))
    console.out.print(summary)


def _kind_of(change: Change) -> str:
    if change.verdict.denial is None:
        return LET_PASS
    return DENIED if change.executed.said.accepted else OTHER_REASON
