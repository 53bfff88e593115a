"""``tidemark decisions``: who asked the gate for what, when, what it said and why."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from common.contracts.events import CommandResult, Decision
from common.contracts.reason_codes import ReasonCode
from common.contracts.topics import RISK_DECISIONS
from common.contracts.values import INT64_MAX
from rich.markup import escape
from rich.table import Table
from streams.process.settings import Settings

from tidemark import console
from tidemark.decisions import Answer, Asked, Found, find
from tidemark.options import (
    DEFAULT_STATE,
    NS_PER_S,
    BootstrapOption,
    StateDirOption,
    addresses,
    moment_ns,
    reader_settings,
)
from tidemark.state import StateDir
from tidemark.tabular import decoder_of

SHOWN: Final = 50
SHOWN_MAX: Final = 10_000
MS_PER_DAY: Final = 86_400_000


class Verdict(StrEnum):
    ACCEPTED = "accepted"
    DENIED = "denied"


def decisions(
    order: Annotated[str, typer.Argument(help="Order id, ACCOUNT.CLIENT_ORDER_ID; none: of all orders.")] = "",
    account: Annotated[str, typer.Option("--account", help="Only of this account.")] = "",
    symbol: Annotated[str, typer.Option("--symbol", help="Only on orders in this symbol.")] = "",
    reason: Annotated[
        list[str] | None, typer.Option("--reason", help="Only denials with this reason; may be repeated.")
    ] = None,
    verdict: Annotated[Verdict | None, typer.Option("--verdict", help="Only those; default: both.")] = None,
    since: Annotated[
        str, typer.Option("--since", help="Decided from then on, like 2026-11-30T14:30:00Z, or ns since the epoch.")
    ] = "",
    until: Annotated[str, typer.Option("--until", help="Decided before then.")] = "",
    oldest_first: Annotated[
        bool, typer.Option("--oldest-first/--newest-first", help="From --since, or the oldest kept, onwards.")
    ] = False,
    count: Annotated[
        int, typer.Option("--count", min=1, max=SHOWN_MAX, help="End after so many; what has more says so.")
    ] = SHOWN,
    skip: Annotated[
        int, typer.Option("--skip", min=0, max=SHOWN_MAX, help="Leave out the first so many: how a page goes on.")
    ] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a decision, with all of its record, instead of a table.")
    ] = False,
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """List what the gate decided on orders and commands: when, for whom, what was asked, the verdict, and why.

    Newest first, from the committed log. The numbers are those that the check compared, with the versions of the limits
    that people had set. Who gave a command stands there where callers are known; `audit --who` lists the commands on
    limits and trading states, `explain` what an order was decided by. Ends with 2 where there is no decision on ORDER.
    """
    if order and account and not order.startswith(f"{account}."):
        raise typer.BadParameter(f"{order} is no order of {account}", param_hint="--account")
    asked = Asked(
        account,
        order,
        symbol,
        frozenset(map(_reason, reason or ())),
        None if verdict is None else verdict is Verdict.ACCEPTED,
        moment_ns(since) if since else 0,
        moment_ns(until) if until else INT64_MAX,
    )
    if asked.since_ns >= asked.until_ns:
        raise typer.BadParameter("--until is not later than --since", param_hint="--until")
    settings = reader_settings(addresses(StateDir(state_dir), kafka_bootstrap=bootstrap))
    found = console.run(_find(settings, asked, skip + count, not oldest_first))
    shown = found.answers[skip:]
    if as_json:
        for answer in shown:
            sys.stdout.write(json.dumps(facts_of(answer)) + "\n")
    elif shown:
        console.out.print(_table(shown))
    _say(found, len(shown), asked, oldest_first)
    if order and not found.answers:
        raise typer.Exit(2)


async def _find(settings: Settings, asked: Asked, count: int, newest_first: bool) -> Found:
    with console.progress() as show_progress:
        return await find(settings, asked, count, show_progress, newest_first=newest_first)


def _reason(text: str) -> ReasonCode:
    try:
        return ReasonCode(text)
    except ValueError:
        known = ", ".join(sorted(ReasonCode))
        raise typer.BadParameter(
            f"{text!r} is no reason; there are {known}, and those of checks", param_hint="--reason"
        ) from None


def facts_of(answer: Answer) -> dict[str, Any]:
    """The record as `tidemark read` has it, and who gave a command."""
    (row,) = decoder_of(RISK_DECISIONS).rows([answer.message])
    return row if answer.record is None else {**row, "who": answer.record.who.model_dump(mode="json")}


def _table(answers: Sequence[Answer]) -> Table:
    table = Table("decided (UTC)", "who", "what", "verdict", "why", "record")
    for answer in answers:
        said, message = answer.said, answer.message
        at = _time_text(said.decided_ns)
        verdict = Verdict.ACCEPTED if said.accepted else Verdict.DENIED
        who = said.account_id if answer.record is None else f"{answer.record.who.subject} for {said.account_id}"
        cells = (at, who, _what(answer), verdict, _why(said), f"{message.partition}/{message.offset}")
        table.add_row(*map(escape, cells))
    return table


def _what(answer: Answer) -> str:
    said = answer.said
    if isinstance(said, CommandResult):
        return f"{'command' if answer.record is None else answer.record.type} {said.command_id}"
    intent = said.intent
    price = "MARKET" if intent.limit_price_e4 is None else f"at {console.price_text(intent.limit_price_e4)}"
    least = "" if intent.min_qty is None else f", {intent.min_qty} at least"
    until = "" if intent.expire_ns is None else f" until {_time_text(intent.expire_ns)}"
    life = f"{intent.time_in_force.value}{until}{least}"
    return f"{said.order_id}: {intent.side.name} {intent.qty} {intent.symbol} {price} {life}"


def _time_text(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / NS_PER_S, UTC).isoformat(timespec="milliseconds")


def _why(said: Decision | CommandResult) -> str:
    """Reason and numbers; of what was accepted what it holds."""
    words = [] if said.reason is None else [said.reason.value]
    words += [f"{name} {value}" for name, value in said.compared.items()]
    words += ["asked before: the same answer"] if said.repeat else []
    words += [] if said.conflict is None else [f"another {said.conflict} under the same id"]
    if isinstance(said, Decision) and said.accepted:
        words += [f"{name} {held}" for name in ("reserved_cash_e4", "reserved_qty") if (held := getattr(said, name))]
    return ", ".join(words)


def _say(found: Found, shown: int, asked: Asked, oldest_first: bool) -> None:
    """How many there are, and how to see on; where there is none, how far back decisions are kept at all."""
    if not found.answers:
        days = RISK_DECISIONS.retention_ms // MS_PER_DAY
        of = f" on {asked.order_id}" if asked.order_id else ""
        console.err.print(escape(f"no decision{of} as asked for; the log keeps them for {days} days"))
        return
    last_ns = found.answers[-1].said.decided_ns
    told = sum(each.said.decided_ns == last_ns for each in found.answers)  # a gate decides many in one moment
    from_there = f"--oldest-first --since {last_ns}" if oldest_first else f"--until {last_ns + 1}"
    more = f"; there are more: {from_there} --skip {told} goes on" if found.has_more else ""
    console.err.print(escape(f"{shown} decisions, {found.records} records read{more}"))
