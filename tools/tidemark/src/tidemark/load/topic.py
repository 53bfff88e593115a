"""Intents straight into the topic, many at once: the load that HTTP cannot make."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Final

from common.contracts.events import OrderIntent
from common.contracts.topics import ORDERS_INTENTS
from streams.edges.sender import Sender
from streams.process.settings import Settings

from tidemark.load.plan import Action, ActionKind, Quote, order_of

CHUNK: Final = 500


def intents(plan: Iterator[Action], quote: Callable[[str], Quote | None], id_prefix: str) -> Iterator[OrderIntent]:
    """The orders of a plan; cancels, and symbols without a price, are passed over."""
    for action in plan:
        found = quote(action.symbol)
        body = order_of(action, found) if found is not None and action.kind is not ActionKind.CANCEL else None
        if body is None:
            continue
        yield OrderIntent(
            account_id=action.account,
            client_order_id=f"{id_prefix}-{action.number}",
            symbol=body.symbol,
            side=body.side,
            order_type=body.order_type,
            time_in_force=body.time_in_force,
            qty=body.qty,
            limit_price_e4=body.limit_price_e4,
            sent_ns=time.time_ns(),
            min_qty=body.min_qty,
        )


async def send_intents(
    settings: Settings,
    orders: Iterator[OrderIntent],
    count: int,
    rate_per_s: float | None = None,
    on_sent: Callable[[int], None] = lambda _: None,
) -> int:
    """Sends ``count`` intents, at most so many per second; returns how many are in the log. Raises Retriable."""
    sender = Sender(settings, "load")
    await sender.start()
    sent = 0
    began_s = time.monotonic()
    try:
        while sent < count:
            chunk = list(itertools.islice(orders, min(CHUNK, count - sent)))
            await sender.send_many(ORDERS_INTENTS, [(order.account_id.encode(), order) for order in chunk])
            sent += len(chunk)
            on_sent(sent)
            ahead_s = sent / rate_per_s - (time.monotonic() - began_s) if rate_per_s else 0.0
            await asyncio.sleep(max(0.0, ahead_s))
    finally:
        await sender.stop()
    return sent
