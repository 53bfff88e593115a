"""``tidemark controls`` against a log and an API: what is listed, what is sent, and how each answer ends it."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from common.contracts.controls import (
    FIRM,
    ControlResult,
    Controls,
    LimitSet,
    Override,
    Proposal,
    StateSet,
    TradingState,
)
from common.contracts.topics import RISK_CONTROLS
from common.fleet_topics import create_topics
from parts import LocalStack
from tidemark.commands.controls import controls
from typer.testing import CliRunner

from tests.integration.answering_api import Api

RUNNER = CliRunner()
WHO: dict[str, Any] = {"proposed_by": "ann", "approved_by": "bob", "note": "why"}
LIMITS = LimitSet(symbol="AAPL", values={"order_qty_max": 5}, version=1, effective_ns=3, **WHO)
OVERRIDE = Override(client_order_id="o7", values={"order_qty_max": 9}, version=2, expires_ns=8, **WHO)
PROPOSAL = Proposal(proposal_id="p9", values={"restricted": 1}, effective_ns=0, by="dan", note="soon", proposed_ns=1)
HALT = StateSet(symbol="GME", state=TradingState.HALTED, by="cat", note="runs away", since_ns=4)


def result(number: int, account_id: str, **said: Any) -> ControlResult:
    return ControlResult(
        account_id=account_id,
        command_id=f"c{number}",
        accepted=True,
        controls=Controls(account_id=account_id, seq=number, **said),
        decided_ns=1,
        command_partition=0,
        command_offset=number,
    )


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    """A broker with what was said of the firm, twice, and of an account."""
    with LocalStack({"kafka"}) as running:
        asyncio.run(_fill(running.addresses.kafka_bootstrap))
        yield running.addresses.kafka_bootstrap


async def _fill(bootstrap: str) -> None:
    await create_topics(bootstrap, [RISK_CONTROLS])
    newest = result(2, FIRM, states=(HALT,), proposals=(PROPOSAL,))
    records = [newest, result(1, FIRM, limits=(LIMITS,)), result(1, "A", limits=(LIMITS,), overrides=(OVERRIDE,))]
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for record in records:
            value = RISK_CONTROLS.schema.encode(record)
            await producer.send_and_wait(RISK_CONTROLS.name, value, record.account_id.encode())


def test_list_when_asked_then_the_newest_of_each(bootstrap: str) -> None:
    said = RUNNER.invoke(controls, ["list", "--json", "--bootstrap", bootstrap])
    assert said.exit_code == 0, said.output
    known = {one["account_id"]: Controls(**one) for one in map(json.loads, said.stdout.splitlines())}
    assert known[FIRM].states == (HALT,) and known[FIRM].limits == ()
    assert known["A"].overrides == (OVERRIDE,)
    table = RUNNER.invoke(controls, ["list", "--bootstrap", bootstrap], env={"COLUMNS": "240"}).stdout
    for text in ("GME", "HALTED", "runs away", "proposal p9", "limits, version 1", "order o7", "ann, bob"):
        assert text in table


SENT: list[tuple[list[str], str, dict[str, Any]]] = [
    (["state", "HALTED"], f"{FIRM}/state", {"state": "HALTED"}),
    (["state", "ACTIVE", "--account", "A", "--symbol", "GME"], "A/state", {"state": "ACTIVE", "symbol": "GME"}),
    (["approve", "p9", "--by", "bob"], f"{FIRM}/proposals/p9", {"verdict": "APPROVE", "by": "bob"}),
    (["reject", "p9", "--command-id", "r1"], f"{FIRM}/proposals/p9", {"verdict": "REJECT", "command_id": "r1"}),
    (
        ["propose", "order_qty_max=5", "restricted=0", "--account", "A", "--effective", "1970-01-01T00:00:02+0000"],
        "A/proposals",
        {"values": {"order_qty_max": 5, "restricted": 0}, "effective_ns": 2 * 10**9},
    ),
    (
        ["propose", "--account", "A", "--order", "o7", "--expires", "1970-01-01T01:00:02+0100"],
        "A/proposals",
        {"values": {}, "client_order_id": "o7", "expires_ns": 2 * 10**9},
    ),
]


@pytest.mark.parametrize(("arguments", "path", "said"), SENT)
def test_command_then_one_request_that_says_who_and_why(
    api: Api, arguments: list[str], path: str, said: dict[str, Any]
) -> None:
    ended = RUNNER.invoke(controls, [*arguments, "--note", "why", "--api", api.url])
    assert ended.exit_code == 0, ended.output
    ((asked, body),) = api.asked
    assert asked == f"/v1/controls/{path}"
    assert said.items() <= body.items()
    assert body["note"] == "why" and body["by"] and body["command_id"]


@pytest.mark.parametrize(("status", "code"), [(422, 2), (409, 1), (503, 1)])
def test_command_when_the_answer_is_no_then_its_reason_and_an_exit_code(api: Api, status: int, code: int) -> None:
    api.answer = (status, {"reason": "APPROVER_IS_PROPOSER", "compared": {}})
    ended = RUNNER.invoke(controls, ["approve", "p9", "--note", "why", "--api", api.url])
    assert ended.exit_code == code
    assert "APPROVER_IS_PROPOSER" in ended.output


def test_propose_when_a_value_is_no_number_then_refused_and_nothing_is_asked(api: Api) -> None:
    ended = RUNNER.invoke(controls, ["propose", "order_qty_max", "--note", "why", "--api", api.url])
    assert (ended.exit_code, api.asked) == (2, [])
