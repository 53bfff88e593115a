"""GLIMPSE snapshots of a recorded day, and a server that gives them, from the messages alone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

LOGIN_BYTES = 49


def glimpse(messages: Sequence[bytes], expected: Any, before: int) -> list[bytes]:
    """The directory and the orders that are open before a message of the day, and the end that names it.

    ``expected``: ticks of the day.
    """
    known = expected[(expected["sequence"] > 0) & (expected["sequence"] < before)]
    directory = [one for one in messages[: before - 1] if one[:1] == b"R"]
    return [*directory, *_open_orders(known, messages), b"G%20d" % before]


def _open_orders(ticks: Any, messages: Sequence[bytes]) -> list[bytes]:
    """Add messages of what is open after the ticks."""
    orders = dict[int, list[Any]]()
    for tick in ticks.tolist():
        _, sequence, ref, aux, price, qty, _, kind, *_ = tick
        if chr(kind) in "AF":
            orders[ref] = [messages[sequence - 1], ref, price, qty]
        elif chr(kind) in "ECX":
            orders[ref][3] -= qty
        elif chr(kind) == "D":
            del orders[ref]
        elif chr(kind) == "U":
            orders[aux] = [orders.pop(ref)[0], aux, price, qty]
        if chr(kind) in "ECX" and orders[ref][3] == 0:
            del orders[ref]
    return [
        b"A"
        + add[1:11]
        + ref.to_bytes(8, "big")
        + add[19:20]
        + qty.to_bytes(4, "big")
        + add[24:32]
        + price.to_bytes(4, "big")
        for add, ref, price, qty in orders.values()
    ]


def best_after(ticks: Any) -> tuple[list[list[int]], list[list[int]]]:
    """Best price and size of both sides of the first twelve books, after the ticks; 0 where there is none."""
    market = pytest.importorskip("signals.offline", reason="books are made by signals").OfflineMarket([60_000_000_000])
    for _ in market.apply(ticks):
        pass
    sides = market.books.sides.reshape(-1, 2)[:12]
    return sides["best_e4"].tolist(), sides["best_size"].tolist()


@asynccontextmanager
async def glimpse_server(answer: Callable[[], bytes]) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Address of a server that gives each client what ``answer`` returns and waits for it to go, and their logins."""
    logins: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        logins.append(await reader.readexactly(LOGIN_BYTES))
        writer.write(answer())
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", logins
