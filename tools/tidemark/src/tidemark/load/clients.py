"""A crowd of client accounts: opened with cash and shares, and then trading."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from common.contracts.values import E4

from tidemark.load.driver import Gateway, GatewayError, Verdict
from tidemark.load.http import HttpGateway
from tidemark.load.plan import OrderBody

OPENING_CASH_E4: Final = 10_000_000 * E4
OPENING_SHARES: Final = 100_000
OPENED_AT_ONCE: Final = 32
RETRY_FIRST_S: Final = 0.2
RETRY_MAX_S: Final = 2.0


async def open_accounts(
    gateway: HttpGateway, held: Mapping[str, Sequence[str]], on_opened: Callable[[], None] = lambda: None
) -> None:
    """Opens and funds every account; one that exists already stays as it is. Raises GatewayError."""
    waiting = asyncio.Semaphore(OPENED_AT_ONCE)

    async def one(account: str, symbols: Sequence[str]) -> None:
        async with waiting:
            positions = [(symbol, OPENING_SHARES) for symbol in symbols]
            await retried(lambda: gateway.open_account(account, OPENING_CASH_E4, positions), 60.0)
            on_opened()

    async with asyncio.TaskGroup() as group:
        for account, symbols in held.items():
            group.create_task(one(account, symbols))


async def retried(request: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Repeats a request that got no answer: ids make that safe. Raises the last GatewayError after so many seconds."""
    deadline = asyncio.get_running_loop().time() + seconds
    pause_s = RETRY_FIRST_S
    while True:
        try:
            await request()
        except GatewayError:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(pause_s)
            pause_s = min(RETRY_MAX_S, 2 * pause_s)
        else:
            return


class PersistentGateway:
    """Asks again until there is an answer: what a careful client does while services are killed under it."""

    def __init__(self, gateway: Gateway, seconds: float) -> None:
        self._gateway = gateway
        self._seconds = seconds

    async def submit(self, account: str, client_order_id: str, body: OrderBody, intended_ns: int) -> Verdict:
        """See ``Gateway``. The same id and the same body each time, so that it stays one order."""
        verdicts: list[Verdict] = []

        async def once() -> None:
            verdicts.append(await self._gateway.submit(account, client_order_id, body, intended_ns))

        await retried(once, self._seconds)
        return verdicts[0]

    async def cancel(self, account: str, order_id: str, intended_ns: int) -> None:
        """See ``Gateway``."""
        await retried(lambda: self._gateway.cancel(account, order_id, intended_ns), self._seconds)
