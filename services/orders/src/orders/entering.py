"""Submissions of this process that are on their way into the log."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Entering:
    """Lets a cancel wait until the orders that arrived before it have their place in the log.

    Holds as many entries as requests are in flight.
    """

    def __init__(self) -> None:
        self._accounts: dict[str, dict[asyncio.Event, str]] = {}
        self._expected: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def order(self, account_id: str, order_id: str) -> Iterator[asyncio.Event]:
        """The event is to be set once the order's intent is in the log; the end of the block sets it in any case."""
        entered = asyncio.Event()
        orders = self._accounts.setdefault(account_id, {})
        orders[entered] = order_id
        for arrived in self._expected.get(order_id, ()):
            arrived.set()
        try:
            yield entered
        finally:
            entered.set()
            del orders[entered]
            if not orders:
                del self._accounts[account_id]

    async def arrives(self, account_id: str, order_id: str, within_s: float) -> None:
        """Waits until a submission of this order has come, no longer than that."""
        if order_id in self._accounts.get(account_id, {}).values():
            return
        arrived = asyncio.Event()
        expecting = self._expected.setdefault(order_id, set())
        expecting.add(arrived)
        try:
            async with asyncio.timeout(within_s):
                await arrived.wait()
        except TimeoutError:
            pass
        finally:
            expecting.discard(arrived)
            if not expecting:
                self._expected.pop(order_id, None)

    async def entered(self, account_id: str, order_id: str | None = None) -> None:
        """Waits for what is under way now: of one order, or of all of the account's."""
        orders = self._accounts.get(account_id, {})
        for entered in [event for event, entering in orders.items() if order_id in (None, entering)]:
            await entered.wait()
