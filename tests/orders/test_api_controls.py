"""Limits and trading states over HTTP: one command each, answered with what was committed about it, overload or not."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from common.contracts.controls import FIRM, ControlResult, Controls, ProposalVerdict, TradingState
from common.contracts.events import ReasonCode
from common.contracts.topics import ORDERS_INTENTS, RISK_CONTROL_COMMANDS, RISK_CONTROLS, Topic
from orders.verdicts import TooManyWaiting, Verdicts

from tests.orders.test_api_verdicts import ORDER, Answer, Wire
from tests.orders.test_api_verdicts import connect as connect  # the fixture

WHO = {"by": "ann", "note": "why"}
HALT = {"command_id": "h1", "state": "HALTED", **WHO}
REQUESTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "proposals",
        {"command_id": "p1", "symbol": "AAPL", "values": {"order_qty_max": 5}, "effective_ns": 7, **WHO},
        {"type": "propose_limits", "symbol": "AAPL", "values": {"order_qty_max": 5}, "effective_ns": 7},
    ),
    (
        "proposals",
        {"command_id": "p1", "client_order_id": "o1", "values": {}, "expires_ns": 9, **WHO},
        {"type": "propose_limits", "client_order_id": "o1", "expires_ns": 9},
    ),
    (
        "proposals/p1",
        {"command_id": "a1", "verdict": "APPROVE", **WHO},
        {"type": "resolve_limits", "proposal_id": "p1", "verdict": ProposalVerdict.APPROVE},
    ),
    ("state", HALT, {"type": "set_trading_state", "state": TradingState.HALTED, "automatic": False}),
]


def gate(**changes: Any) -> Answer:
    """Answers each command at once, in two partitions as it does for the firm."""

    def answer(wire: Wire, topic: Topic, body: Any, place: tuple[int, int]) -> None:
        assert topic is RISK_CONTROL_COMMANDS
        fields: dict[str, Any] = {"accepted": True, "controls": Controls(account_id=body.account_id, seq=1)} | changes
        result = ControlResult(
            account_id=body.account_id,
            command_id=body.command_id,
            decided_ns=1,
            command_partition=place[0],
            command_offset=place[1],
            **fields,
        )
        for _ in range(2):
            wire.commit(RISK_CONTROLS, result)

    return answer


@pytest.mark.parametrize("account_id", [FIRM, "A"])
@pytest.mark.parametrize(("path", "body", "said"), REQUESTS)
async def test_command_when_sent_then_on_the_log_as_it_was_said_and_answered_with_what_is_in_force(
    connect: Callable[..., Any], account_id: str, path: str, body: dict[str, Any], said: dict[str, Any]
) -> None:
    client = connect(gate())
    response = await client.post(f"/v1/controls/{account_id}/{path}", json=body)
    assert response.status_code == 201, response.text
    assert response.json()["controls"]["seq"] == 1
    ((topic, command),) = client.wire.sent
    assert topic is RISK_CONTROL_COMMANDS
    assert (command.account_id, command.by, command.note) == (account_id, "ann", "why")
    assert {name: getattr(command, name) for name in said} == said


async def test_command_when_repeated_denied_or_in_conflict_then_200_422_409(connect: Callable[..., Any]) -> None:
    async def status(**changes: Any) -> tuple[int, Any]:
        response: httpx.Response = await connect(gate(**changes)).post(f"/v1/controls/{FIRM}/state", json=HALT)
        return response.status_code, response.json()

    assert (await status(repeat=True))[0] == 200
    number, problem = await status(accepted=False, reason=ReasonCode("RESUME_NEEDS_PERSON"), controls=None)
    assert (number, problem["reason"], problem["transient"]) == (422, "RESUME_NEEDS_PERSON", False)
    number, problem = await status(accepted=False, reason=ReasonCode.DUPLICATE_ID, conflict="state", controls=None)
    assert (number, problem["conflict"]) == (409, "state")


@pytest.mark.parametrize(
    "body", [{}, HALT | {"state": "OFF"}, HALT | {"by": ""}, HALT | {"note": ""}, HALT | {"more": 1}]
)
async def test_command_when_it_says_not_who_or_why_then_400_and_nothing_is_sent(
    connect: Callable[..., Any], body: dict[str, Any]
) -> None:
    client = connect(gate())
    assert (await client.post(f"/v1/controls/{FIRM}/state", json=body)).status_code == 400
    assert client.wire.sent == []


async def test_halt_when_as_many_requests_wait_as_may_then_answered_all_the_same(connect: Callable[..., Any]) -> None:
    """An order finds no place at that moment."""
    client = connect(gate(), inflight_max=1)
    verdicts: Verdicts = client.wire.verdicts
    with verdicts.waiting("A", lambda _: False):
        with pytest.raises(TooManyWaiting), verdicts.waiting("A", lambda _: False):
            pass
        assert (await client.post("/v1/orders", json=ORDER)).status_code == 503
        assert (await client.post(f"/v1/controls/{FIRM}/state", json=HALT)).status_code == 201
    assert [topic for topic, _ in client.wire.sent if topic is ORDERS_INTENTS] == []
