"""``tidemark breaks`` against a log and an API: what is listed, what is sent, and how each answer ends the program."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from common.contracts.breaks import BreakReason, BreakResolution, ExecutionBreak, ReportedEffect
from common.contracts.events import BreakAction, ExecType, ExecutionReport
from common.contracts.topics import RISK_BREAKS
from common.contracts.values import Side
from common.fleet_topics import create_topics
from parts import LocalStack
from tidemark.commands.breaks import breaks
from typer.testing import CliRunner

from tests.integration.answering_api import Api

RUNNER = CliRunner()


def opened(number: int, account: str = "A") -> ExecutionBreak:
    report = ExecutionReport(
        execution_id=f"V{number}",
        exec_type=ExecType.TRADE,
        order_id=f"{account}.o",
        account_id=account,
        symbol="AAPL",
        side=Side.BUY,
        last_qty=70,
        last_price_e4=990_050,
        cum_qty=110,
        venue_ns=1,
    )
    return ExecutionBreak(
        break_id=f"2-{number}",
        account_id=account,
        order_id=report.order_id,
        reason=BreakReason.OVERFILL,
        compared={"open_qty": 60, "excess_qty": 10},
        effect=ReportedEffect(fill_qty=70, fill_price_e4=990_050),
        report=report,
        opened_ns=number,
    )


def refused(of: ExecutionBreak) -> BreakResolution:
    return BreakResolution(
        break_id=of.break_id,
        account_id=of.account_id,
        command_id="r",
        action=BreakAction.BREAK,
        note="the venue took it back",
        resolved=of,
        resolved_ns=9,
    )


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    """A broker with three breaks, one of them resolved."""
    with LocalStack({"kafka"}) as running:
        asyncio.run(_fill(running.addresses.kafka_bootstrap))
        yield running.addresses.kafka_bootstrap


async def _fill(bootstrap: str) -> None:
    await create_topics(bootstrap, [RISK_BREAKS])
    records: list[ExecutionBreak | BreakResolution] = [opened(2), opened(1), refused(opened(1)), opened(3, "B")]
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for record in records:
            value = RISK_BREAKS.schema.encode(record)
            await producer.send_and_wait(RISK_BREAKS.name, value, record.account_id.encode())


def listed(bootstrap: str, *options: str) -> list[dict[str, Any]]:
    result = RUNNER.invoke(breaks, ["list", "--json", "--bootstrap", bootstrap, *options])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_list_when_asked_then_the_open_ones_or_all_oldest_first(bootstrap: str) -> None:
    assert [(one["break_id"], one["state"]) for one in listed(bootstrap)] == [("2-2", "OPEN"), ("2-3", "OPEN")]
    everything = listed(bootstrap, "--all")
    assert [(one["break_id"], one["state"]) for one in everything] == [
        ("2-1", "BREAK"),
        ("2-2", "OPEN"),
        ("2-3", "OPEN"),
    ]
    assert everything[0]["resolution"]["note"] == "the venue took it back"
    assert [one["break_id"] for one in listed(bootstrap, "--account", "B")] == ["2-3"]


def test_list_as_a_table_then_what_was_said_why_and_what_booking_moves(bootstrap: str) -> None:
    result = RUNNER.invoke(breaks, ["list", "--bootstrap", bootstrap, "--account", "A"], env={"COLUMNS": "240"})
    for text in ("TRADE V2: BUY 70 AAPL at 99.0050", "OVERFILL", "excess_qty 10", "fill 70 at 99.0050"):
        assert text in result.stdout


@pytest.mark.parametrize("how", ["--book", "--break"])
def test_resolve_when_accepted_then_the_command_went_to_the_breaks_account(bootstrap: str, api: Api, how: str) -> None:
    arguments = ["resolve", "2-3", how, "--note", "why", "--api", api.url, "--bootstrap", bootstrap]
    result = RUNNER.invoke(breaks, arguments)
    assert result.exit_code == 0, result.output
    ((path, body),) = api.asked
    assert path == "/v1/accounts/B/breaks/2-3"
    assert (body["action"], body["note"]) == (how.removeprefix("--").upper(), "why")


@pytest.mark.parametrize(("status", "code"), [(422, 2), (409, 1), (503, 1)])
def test_resolve_when_the_answer_is_no_then_its_reason_and_an_exit_code(
    bootstrap: str, api: Api, status: int, code: int
) -> None:
    api.answer = (status, {"reason": "CASH_INSUFFICIENT", "compared": {"shortfall_cash_e4": 5}})
    arguments = ["resolve", "2-2", "--book", "--note", "why", "--api", api.url, "--bootstrap", bootstrap]
    result = RUNNER.invoke(breaks, arguments)
    assert result.exit_code == code
    assert "CASH_INSUFFICIENT" in result.output and "shortfall_cash_e4 5" in result.output


def test_resolve_when_there_is_no_such_break_or_no_api_then_said_and_1(bootstrap: str, api: Api) -> None:
    common = ["--book", "--note", "why", "--bootstrap", bootstrap]
    unknown = RUNNER.invoke(breaks, ["resolve", "9-9", "--api", api.url, *common])
    assert (unknown.exit_code, api.asked) == (1, [])
    away = RUNNER.invoke(breaks, ["resolve", "2-2", "--api", "http://127.0.0.1:1", *common])
    assert away.exit_code == 1 and "--command-id" in away.output
