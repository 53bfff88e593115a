"""One account with a hundred connections, by bytes on the wire: it is slowed down, and the others are not."""

import asyncio
import itertools
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from common.contracts.events import ReasonCode
from common.contracts.topics import RISK_DECISIONS, Topic
from common.testing.raw_http import HOST, read, serving
from orders.settings import OrdersSettings, ShareSettings
from orders.verdicts import Verdicts
from streams.model.message import Message

SECONDS = 3.0
CONNECTIONS = 100
GATE_S = 0.02


class Gate:
    """Denies every order after a while, and counts how many of each account it had, and has at a time."""

    verdicts: Verdicts

    def __init__(self, make: Any) -> None:
        self.denied: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._make = make
        self._offsets = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(self, topic: Topic, key: bytes, body: Any) -> tuple[int, int]:
        place = (3, next(self._offsets))
        task = asyncio.create_task(self._answer(body, place))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return place

    async def _answer(self, intent: Any, place: tuple[int, int]) -> None:
        account = intent.account_id
        self._running[account] += 1
        self.most[account] = max(self.most[account], self._running[account])
        await asyncio.sleep(GATE_S)
        self._running[account] -= 1
        self.denied[account] += 1
        found = {"intent_partition": place[0], "intent_offset": place[1]}
        decision = self._make.decision(intent, ReasonCode.CASH_INSUFFICIENT, **found)
        value = RISK_DECISIONS.schema.encode(decision)
        self.verdicts.on_messages([Message(RISK_DECISIONS, 3, 0, account.encode(), value, 0)])


def order(account: str) -> bytes:
    body = {
        "account_id": account,
        "client_order_id": "1",
        "symbol": "AAPL",
        "side": "B",
        "order_type": "MARKET",
        "qty": 1,
    }
    text = json.dumps(body).encode()
    head = b"POST /v1/orders HTTP/1.1\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (HOST, len(text)) + text


@dataclass
class Trader:
    """One account: the answers to its orders, and how many of another's the gate denied from one to the next."""

    account: str
    other: str
    statuses: Counter[int] = field(default_factory=Counter)
    overtaken: list[int] = field(default_factory=list)


async def trade(port: int, gate: Gate, trader: Trader, pause_s: float) -> None:
    """One order after the other on one connection, whatever the answers are."""
    others = gate.denied[trader.other]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while True:
            writer.write(order(trader.account))
            answer = await read(reader, lambda so_far: so_far.raw.rstrip().endswith(b"}"))
            trader.statuses[answer.statuses[0]] += 1
            trader.overtaken.append(gate.denied[trader.other] - others)
            others = gate.denied[trader.other]
            assert (answer.statuses[0] == 429) == (b"retry-after: " in answer.raw)
            await asyncio.sleep(pause_s)
    finally:
        writer.close()


@pytest.mark.timeout(60)
async def test_account_with_many_connections_then_it_waits_and_is_refused_and_its_neighbour_notices_nothing(
    make: Any,
) -> None:
    settings = OrdersSettings(share=ShareSettings(busy=0.1))
    gate = Gate(make)
    api, gate.verdicts = make.api(gate, settings)
    noisy, quiet = Trader("noisy", other="quiet"), Trader("quiet", other="noisy")
    async with serving(api, settings.http.limits()) as server:
        tasks = [asyncio.create_task(trade(server.port, gate, quiet, 0.05))]
        await asyncio.sleep(0.3)
        tasks += [asyncio.create_task(trade(server.port, gate, noisy, 0)) for _ in range(CONNECTIONS)]
        await asyncio.sleep(SECONDS)
        most = gate.most["noisy"]  # those that wait when all leave are alone then
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended
    assert set(quiet.statuses) == {422}, "never refused"
    later = quiet.overtaken[len(quiet.overtaken) // 2 :]  # when the other's burst is over
    assert sum(later) < len(later) * CONNECTIONS / 4, "nor overtaken by all those connections"
    assert most <= 2 * settings.share.requests, "its own share, and before its first answer that of names not known"
    assert noisy.statuses[422] > 20, "it trades on within its share"
    assert 0 < noisy.statuses[429] <= CONNECTIONS, "and a refused connection is not read for a while, longer each time"
