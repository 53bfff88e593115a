"""Orders over HTTP, as a client of the orders API sends them."""

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from tidemark.load.driver import GatewayError, Verdict
from tidemark.load.plan import OrderBody

CONNECTIONS_MAX: Final = 256
TIMEOUT_S: Final = 30.0
ANSWERS_TO_A_CANCEL: Final = frozenset({200, 202, 404, 409})
"""Canceled, under way, unknown here, or over already: each is an answer."""


class HttpGateway:
    """See ``driver.Gateway``. Keeps connections open between orders, as a trading client does."""

    def __init__(
        self, url: str, connections_max: int = CONNECTIONS_MAX, credential: Callable[[], str] = lambda: ""
    ) -> None:
        """``credential``: the token or key to send, asked for again and again; empty: none."""
        self._url = url.rstrip("/")
        self._credential = credential
        self._connections_max = connections_max
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=self._connections_max, keepalive_timeout=60)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def submit(self, account: str, client_order_id: str, body: OrderBody, intended_ns: int) -> Verdict:
        request: dict[str, Any] = {
            "account_id": account,
            "client_order_id": client_order_id,
            "symbol": body.symbol,
            "side": body.side.value,
            "order_type": body.order_type.value,
            "time_in_force": body.time_in_force.value,
            "qty": body.qty,
        }
        if body.limit_price_e4 is not None:
            request["limit_price_e4"] = body.limit_price_e4
        if body.min_qty is not None:
            request["min_qty"] = body.min_qty
        status, answer = await self._send("POST", "/v1/orders", request, intended_ns)
        if status in (200, 201):
            return Verdict(True, "", int(answer["decided_ns"]))
        if status in (409, 422):
            return Verdict(False, str(answer["reason"]), int(answer["decision"]["decided_ns"]))
        raise GatewayError(_problem(status, answer))

    async def cancel(self, account: str, order_id: str, intended_ns: int) -> None:
        status, answer = await self._send("DELETE", f"/v1/orders/{order_id}", None, intended_ns)
        if status not in ANSWERS_TO_A_CANCEL:
            raise GatewayError(_problem(status, answer))

    async def open_account(self, account: str, cash_e4: int, positions: Iterable[tuple[str, int]]) -> None:
        """Opens an account with cash and shares. Repeating it changes nothing. Raises GatewayError."""
        await self._command(f"/v1/accounts/{account}", {"command_id": "open"})
        await self._command(f"/v1/accounts/{account}/fund", {"command_id": "cash", "cash_e4": cash_e4})
        for symbol, qty in positions:
            body = {"command_id": f"shares-{symbol.encode().hex()}", "symbol": symbol, "qty": qty}
            await self._command(f"/v1/accounts/{account}/fund", body)

    async def _command(self, path: str, body: dict[str, Any]) -> None:
        status, answer = await self._send("POST", path, body, None)
        if status not in (200, 201):
            raise GatewayError(_problem(status, answer))

    async def _send(
        self, method: str, path: str, body: dict[str, Any] | None, sent_ns: int | None
    ) -> tuple[int, dict[str, Any]]:
        assert self._session is not None, "used outside its context"
        headers = {"Tidemark-Sent-Ns": str(sent_ns)} if sent_ns is not None else {}
        if credential := self._credential():
            headers["Authorization"] = f"Bearer {credential}"
        try:
            async with self._session.request(method, self._url + path, json=body, headers=headers) as response:
                return response.status, await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise GatewayError(f"no answer: {type(error).__name__}") from error


def _problem(status: int, answer: dict[str, Any]) -> str:
    return f"HTTP {status}: {answer.get('title', '')} {answer.get('detail', '')}".rstrip()
