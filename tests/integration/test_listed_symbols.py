"""Orders of every symbol that a feed may list, over HTTP to the gate's own decision and back."""

import itertools
from typing import Any

import httpx
import pytest
from common.checks.installed import gate_of
from common.contracts.events import CASH
from common.contracts.market import mark_clock_key
from common.contracts.topics import ORDERS_INTENTS, RISK_COMMANDS, RISK_DECISIONS, Topic
from common.contracts.values import E4
from common.testing.listed_symbols import LISTED
from common.testing.orders import ACCOUNT, NOW_NS, clock_row, fund, instrument, mark_row, set_account
from orders.api.web import create_api
from orders.desk import Desk
from orders.queries import Queries
from orders.reads import Reads
from orders.recent import Recent
from orders.settings import OrdersSettings
from orders.verdicts import Verdicts
from risk.settings import RiskSettings
from risk.stages import Gate
from risk.tables import DAY_NS, TABLES
from streams.model.message import Message, Output
from streams.testing.tables import MemoryTables, message


class Gateway:
    """The log between the API and the gate: an intent is decided where it is sent, by the gate's handler."""

    def __init__(self, verdicts: Verdicts) -> None:
        self._verdicts = verdicts
        self._offsets = itertools.count(1)
        self._gate = Gate(RiskSettings().limits.as_limits(), DAY_NS, gate_of(RiskSettings().checks))
        self.tables = MemoryTables(TABLES, 0)
        self.tables.globals("marks").put(mark_clock_key(0), clock_row(), 0)
        for number, symbol in enumerate(LISTED):
            self.tables.globals("instruments").put(symbol.encode(), instrument(symbol, number))
            self.tables.globals("marks").put(symbol.encode(), mark_row(symbol), 0)
        for command in (set_account(), fund(command_id="cash", cash_e4=10**7 * E4)):
            list(self._gate.handle(message(RISK_COMMANDS, command.account_id.encode(), command), self.tables, NOW_NS))

    async def send(self, topic: Topic, key: bytes, body: Any) -> tuple[int, int]:
        assert topic is ORDERS_INTENTS
        offset = next(self._offsets)
        sent = Message(topic, 0, offset, key, topic.schema.encode(body), 0)
        outputs = [each for each in self._gate.handle(sent, self.tables, NOW_NS) if isinstance(each, Output)]
        for output in outputs:
            if output.topic is RISK_DECISIONS:
                value = RISK_DECISIONS.schema.encode(output.body)
                self._verdicts.on_messages([Message(RISK_DECISIONS, 0, offset, output.key, value, 0)])
        return 0, offset

    async def end(self, topic: Topic, key: bytes) -> int:
        return 0


@pytest.fixture
def gateway() -> Gateway:
    return Gateway(Verdicts(OrdersSettings().inflight_max))


@pytest.fixture
def api(gateway: Gateway) -> httpx.AsyncClient:
    settings, nothing = OrdersSettings(), None
    desk: Any = Desk(gateway, gateway._verdicts, settings, lambda: True, gateway)
    reads = Reads(Queries(nothing), Recent(1), nothing)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=httpx.ASGITransport(create_api(desk, reads, settings)), base_url="http://orders")


def order(symbol: str, number: int) -> dict[str, Any]:
    return {
        "account_id": ACCOUNT, "client_order_id": f"o{number}", "symbol": symbol, "side": "B", "order_type": "LIMIT",
        "qty": 1, "limit_price_e4": 100 * E4,
    }  # fmt: skip


async def test_order_when_its_symbol_has_any_published_suffix_then_the_gate_accepts_it(
    api: httpx.AsyncClient, gateway: Gateway
) -> None:
    async with api:
        answers = [await api.post("/v1/orders", json=order(symbol, at)) for at, symbol in enumerate(LISTED)]
    assert [(answer.status_code, answer.json()["intent"]["symbol"]) for answer in answers] == [
        (201, symbol) for symbol in LISTED
    ], [answer.text for answer in answers if answer.status_code != 201][:1]
    account = gateway.tables.changelogged("accounts").get(ACCOUNT.encode())
    assert account is not None
    assert sorted(account.buy_prices) == sorted(LISTED)
    assert account.reserved_cash_e4 == len(LISTED) * 100 * E4


@pytest.mark.parametrize("symbol", [CASH, "@", "A B", "a@", "A" * 17, "A@\n"])
async def test_order_when_its_symbol_is_none_then_the_api_refuses_it(api: httpx.AsyncClient, symbol: str) -> None:
    async with api:
        assert (await api.post("/v1/orders", json=order(symbol, 0))).status_code == 400
