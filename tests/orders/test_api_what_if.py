"""Verdicts on orders that nobody sends, over HTTP: asked on the log, answered from it, and never an order."""

from collections.abc import Callable
from typing import Any

import pytest
from common.contracts.events import ReasonCode
from common.contracts.topics import RISK_WHAT_IFS, Topic
from common.contracts.what_ifs import WhatIf, WhatIfAnswer

from tests.orders.test_api_verdicts import ORDER, Wire
from tests.orders.test_api_verdicts import connect as connect  # the fixture


def answered(wire: Wire, topic: Topic, question: Any, place: tuple[int, int]) -> None:
    """The log has the question, somebody else's answer, and the answer."""
    assert topic is RISK_WHAT_IFS and isinstance(question, WhatIf)
    wire.commit(topic, question)
    for question_id, accepted in (("another", True), (question.question_id, False)):
        answer = WhatIfAnswer(
            account_id=question.account_id,
            question_id=question_id,
            accepted=accepted,
            reason=None if accepted else ReasonCode.CASH_INSUFFICIENT,
            compared={} if accepted else {"shortfall_cash_e4": 5},
            qty_max=70,
            headroom={"available_cash_e4": 70_000_000},
            decided_ns=1,
            question_partition=place[0],
            question_offset=place[1],
        )
        wire.commit(topic, answer)


async def test_question_then_200_with_the_gates_own_answer_and_no_order_is_entered(connect: Callable[..., Any]) -> None:
    client = connect(answered)
    response = await client.post("/v1/orders/what-if", json=ORDER)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert (answer["accepted"], answer["reason"], answer["qty_max"]) == (False, "CASH_INSUFFICIENT", 70)
    assert (answer["compared"], answer["headroom"]) == ({"shortfall_cash_e4": 5}, {"available_cash_e4": 70_000_000})
    ((topic, question),) = client.wire.sent
    assert topic is RISK_WHAT_IFS
    assert {name: getattr(question.order, name) for name in ORDER} == ORDER


@pytest.mark.parametrize("body", [{}, ORDER | {"qty": "1"}, ORDER | {"more": 1}])
async def test_question_when_it_is_no_order_then_400(connect: Callable[..., Any], body: dict[str, Any]) -> None:
    client = connect(answered)
    assert (await client.post("/v1/orders/what-if", json=body)).status_code == 400
    assert client.wire.sent == []


async def test_question_when_nobody_answers_then_503(connect: Callable[..., Any]) -> None:
    client = connect(lambda *_: None, verdict_timeout_ms=50)
    assert (await client.post("/v1/orders/what-if", json=ORDER)).status_code == 503
