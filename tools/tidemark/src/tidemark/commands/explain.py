"""``tidemark explain``: what a decision was made of, and the decision made again."""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import typer
from common.check_digests import digests_of
from common.checks.check import CheckChain
from common.checks.installed import CheckUnavailable, gate_of
from common.contracts.events import Decision
from common.contracts.topics import RISK_DECISIONS
from msgspec.structs import asdict
from rich.markup import escape
from risk.reexecution import Evidence, Executed, executed
from risk.settings import RiskSettings
from streams.process.build_info import version_of
from streams.process.settings import Settings

from tidemark import console
from tidemark.evidence import gathered
from tidemark.options import DEFAULT_STATE, BootstrapOption, StateDirOption, addresses, reader_settings
from tidemark.state import StateDir

EXAMPLES_MAX: Final = 20
"""Decisions that are printed where all are asked for and many come out other."""


def explain(
    order: Annotated[
        str | None,
        typer.Argument(help="Order id, ACCOUNT.CLIENT_ORDER_ID; none: all orders, and only those that differ."),
    ] = None,
    account: Annotated[
        str | None, typer.Option("--account", help="Without an order: all orders of this account.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a decision instead of text.")] = False,
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Print what the gate decided an order by, and decide it again: by the same account, mark, limits and losses.

    The account is the fold of the ledger up to the entry that the decision names; the mark stands in the decision;
    limits, controls and code are those of risk.basis. The exit code is 0 where every record comes out byte for byte as
    it was written, 1 where one does not, or cannot be executed, and 2 where there is no such order.
    """
    settings = reader_settings(addresses(StateDir(state_dir), kafka_bootstrap=bootstrap))
    with console.reported():
        gate = gate_here()
    of = order.partition(".")[0] if order is not None else account
    if console.run(_explain(settings, gate, order, of, as_json)):
        raise typer.Exit(1)


def gate_here() -> CheckChain:
    try:
        return gate_of(RiskSettings().checks)
    except CheckUnavailable as error:
        raise console.CommandError(str(error)) from error


async def _explain(settings: Settings, gate: CheckChain, order: str | None, of: str | None, as_json: bool) -> bool:
    """Whether something differs."""
    count = differ = 0
    for each in decided(await gathered(settings, of), gate):
        if order is not None and each.said.order_id != order:
            continue
        count += 1
        differ += not each.is_same
        if as_json:
            sys.stdout.write(json.dumps(facts_of(each, gate)) + "\n")
        elif order is not None or (not each.is_same and differ <= EXAMPLES_MAX):
            _print(each, gate)
    if order is not None and not count:
        console.err.print(f"no decision on {escape(order)} is on {RISK_DECISIONS.name}")
        raise typer.Exit(2)
    if order is None and not as_json:
        console.out.print(f"{count} decisions executed again: {count - differ} the same, {differ} other")
    return bool(differ)


def decided(evidence: Mapping[int, Evidence], gate: CheckChain) -> Iterator[Executed]:
    """Decisions of all partitions. Raises CommandError where the log does not have what they stand on."""
    limits = RiskSettings().limits.as_limits()
    for number, each in evidence.items():
        try:
            yield from executed(each, gate, limits)
        except ValueError as error:
            raise console.CommandError(f"{RISK_DECISIONS.name}/{number}: {error}") from error


def facts_of(each: Executed, gate: CheckChain) -> dict[str, Any]:
    """Facts that a decision was made of, as numbers and words."""
    said, settled = each.said, each.settled
    limits = each.symbol.limits
    row = each.account
    return {
        "order_id": said.order_id,
        "accepted": said.accepted,
        "reason": said.reason,
        "compared": said.compared,
        "decided_ns": said.decided_ns,
        "intent": [said.intent_partition, said.intent_offset],
        "decision": [each.message.partition, each.message.offset],
        "release": None if settled.rules is None else settled.rules.release,
        "executed_by": version_of("risk"),
        "checks_changed": changed_checks(each, gate),
        "limits": {
            "firm_controls": settled.firm.seq,
            "firm_version": limits.firm_limits_version,
            "account_controls": settled.own.seq,
            "account_version": limits.account_limits_version,
            "values": {name: value for name, value in asdict(limits).items() if name != "by_symbol"},
        },
        "account": {
            "balance_seq": 0 if row is None else row.seq,
            **{name: value for name, value in asdict(each.case.account).items() if name != "known"},
            **{f"position_{name}": value for name, value in asdict(each.case.position).items()},
        },
        "activity": asdict(each.case.activity),
        "mark": None if said.mark is None else said.mark.model_dump(),
        "trading_state": chr(each.symbol.fields.trading_state or ord(" ")).strip(),
        "same": each.is_same,
        "differs": differences(each),
    }


def changed_checks(each: Executed, gate: CheckChain) -> list[str]:
    """Checks that are other in this release than in the one that decided, or only in one of the two."""
    if each.settled.rules is None:
        return []
    then, now = each.settled.rules.checks, digests_of(gate)
    return [name for name in dict.fromkeys((*then, *now)) if then.get(name) != now.get(name)]


def differences(each: Executed) -> dict[str, list[Any]]:
    """Field → as it was written, as it comes out."""
    if each.is_same:
        return {}
    now: Decision = RISK_DECISIONS.schema.decode(each.value)
    was, new = each.said.model_dump(mode="json"), now.model_dump(mode="json")
    return {name: [was[name], new[name]] for name in was if was[name] != new[name]} or {"bytes": ["", ""]}


def _print(each: Executed, gate: CheckChain) -> None:
    facts = facts_of(each, gate)
    verdict = "accepted" if facts["accepted"] else f"denied: {facts['reason']} {json.dumps(facts['compared'])}"
    limits, account, mark = facts["limits"], facts["account"], facts["mark"]
    intent = each.said.intent
    price = "MARKET" if intent.limit_price_e4 is None else f"at {intent.limit_price_e4}"
    lines = {
        "order": f"{facts['order_id']}: {intent.side.name} {intent.qty} {intent.symbol} {price}",
        "decision": f"{verdict}; by the gate's clock {facts['decided_ns']}, record {_place(RISK_DECISIONS.name, each)}",
        "limits": f"firm version {limits['firm_version']} (controls {limits['firm_controls']}), account version "
        f"{limits['account_version']} (controls {limits['account_controls']})",
        "balance": f"after ledger entry {account['balance_seq']}: cash {account['cash_e4']}, reserved "
        f"{account['reserved_cash_e4']}; held {account['position_qty']}, reserved {account['position_reserved_qty']}",
        "mark": "none" if mark is None else _mark(mark, facts["trading_state"]),
        "code": f"release {facts['release'] or 'not said'}, executed by {facts['executed_by']}; checks that changed: "
        f"{', '.join(facts['checks_changed']) or 'none'}",
        "again": "the same bytes" if facts["same"] else "[red]OTHER[/]",
    }
    for name, line in lines.items():
        console.out.print(f"{name:>9}  {line if name == 'again' else escape(line)}")
    for name, (was, now) in facts["differs"].items():
        console.out.print(f"{'':>9}  {escape(f'{name}: was {json.dumps(was)}, comes out as {json.dumps(now)}')}")


def _mark(mark: dict[str, int], trading_state: str) -> str:
    prices = f"bid {mark['bid_e4']}, ask {mark['ask_e4']}, last {mark['last_e4']}, clock {mark['clock_ns']}"
    return f"md.marks {mark['partition']}/{mark['offset']}: {prices}, state {trading_state or 'unsaid'}"


def _place(topic: str, each: Executed) -> str:
    return f"{topic} {each.message.partition}/{each.message.offset}"
