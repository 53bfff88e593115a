"""Clients that mean harm, or are merely broken: a process of its own, so that it does not slow down whoever measures.

    python -m bench.attacks.attackers NAME --orders URL --push URL --account ID --seconds N [--address 127.0.0.2]

Prints one JSON object: how often each status came back, or what else became of a connection.
"""

import argparse
import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import websockets

CHUNK: Final = b"a" * 65_536
Attack = Callable[["Attacker"], Coroutine[None, None, None]]


@dataclass
class Attacker:
    """One attack: its targets, its addresses, its end, and what it observed."""

    orders: str
    push: str
    account: str
    address: str
    until_s: float
    seen: Counter[str] = field(default_factory=Counter)

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self.until_s

    async def connect(self, url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        at = urlsplit(url)
        source = (self.address, 0) if self.address else None
        return await asyncio.open_connection(at.hostname, at.port, local_addr=source)

    async def each(self, count: int, work: Callable[["Attacker", int], Awaitable[None]]) -> None:
        """Runs ``count`` copies of the work at once, each of them again and again."""

        async def again(number: int) -> None:
            while self.goes_on:
                try:
                    async with asyncio.timeout(max(0.1, self.until_s - time.monotonic())):
                        await work(self, number)
                except (OSError, EOFError, TimeoutError, websockets.WebSocketException) as error:
                    self.seen[type(error).__name__] += 1
                    await asyncio.sleep(0.01)

        await asyncio.gather(*(again(number) for number in range(count)))

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nHost: {urlsplit(self.orders).netloc}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        """One request and its whole answer. Raises EOFError where there is none."""
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        self.seen[head.split(" ", 2)[1]] += 1
        length = head.partition("content-length: ")[2].partition("\r\n")[0]
        await reader.readexactly(int(length or 0))


async def endless_header(attacker: Attacker) -> None:
    """A header without an end, as fast as it is taken, from one connection."""

    async def one(self: Attacker, _number: int) -> None:
        reader, writer = await self.connect(self.orders)
        writer.write(self.request("GET", "/health/live")[:-2] + b"X-A: ")
        sent = 0
        try:
            while not reader.at_eof() and sent < 200 * len(CHUNK):
                writer.write(CHUNK)
                await writer.drain()
                sent += len(CHUNK)
        except OSError:
            pass
        while self.goes_on and sent >= 200 * len(CHUNK):  # all of it was taken: byte by byte now
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.005)
        self.seen[f"closed after {sent // 1024:,} KiB"] += 1
        writer.close()

    await attacker.each(1, one)


async def slow(attacker: Attacker, beginning: bytes) -> None:
    """A byte a second from each of 500 connections."""

    async def one(self: Attacker, _number: int) -> None:
        reader, writer = await self.connect(self.orders)
        writer.write(beginning)
        began_s = time.monotonic()
        while not reader.at_eof():
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(1)
        self.seen[f"closed after {time.monotonic() - began_s:.0f} s"] += 1
        writer.close()

    await attacker.each(500, one)


async def slow_headers(attacker: Attacker) -> None:
    await slow(attacker, attacker.request("GET", "/health/live")[:-2] + b"X-A: ")


async def slow_bodies(attacker: Attacker) -> None:
    await slow(attacker, attacker.request("POST", "/v1/orders", CHUNK)[: -len(CHUNK)])


async def unknown_cancels(attacker: Attacker) -> None:
    """1,100 cancels at a time of orders that never were."""
    numbers = itertools.count()

    async def one(self: Attacker, _number: int) -> None:
        reader, writer = await self.connect(self.orders)
        while self.goes_on:
            await self.ask(reader, writer, self.request("DELETE", f"/v1/orders/{self.account}.never{next(numbers)}"))

    await attacker.each(1_100, one)


async def one_account(attacker: Attacker) -> None:
    """100 connections of one account, each with one order after the other that is denied."""
    numbers = itertools.count(time.time_ns())

    async def one(self: Attacker, _number: int) -> None:
        reader, writer = await self.connect(self.orders)
        while self.goes_on:
            order: dict[str, object] = {
                "account_id": self.account,
                "client_order_id": f"x{next(numbers)}",
                "symbol": "SYN0001",
                "side": "B",
            }
            order |= {"order_type": "LIMIT", "qty": 1_000_000, "limit_price_e4": 10_000}
            await self.ask(reader, writer, self.request("POST", "/v1/orders", json.dumps(order).encode()))

    await attacker.each(100, one)


async def page_reads(attacker: Attacker) -> None:
    """100 connections that read one page of one account again and again."""

    async def one(self: Attacker, _number: int) -> None:
        reader, writer = await self.connect(self.orders)
        while self.goes_on:
            await self.ask(reader, writer, self.request("GET", f"/v1/accounts/{self.account}/ledger?limit=500"))

    await attacker.each(100, one)


async def no_such_path(attacker: Attacker) -> None:
    """100 connections that ask for what is not there, which costs nothing to make."""

    async def one(self: Attacker, _number: int) -> None:
        reader, writer = await self.connect(self.orders)
        while self.goes_on:
            await self.ask(reader, writer, self.request("GET", "/nothing"))

    await attacker.each(100, one)


async def connections(attacker: Attacker) -> None:
    """As many connections as can be had, none of which says anything."""
    held: list[asyncio.StreamWriter] = []

    async def one(self: Attacker, _number: int) -> None:
        _, writer = await self.connect(self.orders)
        held.append(writer)
        self.seen["connected"] += 1
        if len(held) > 5_000:
            held.pop(0).close()

    await attacker.each(20, one)


async def subscriptions(attacker: Attacker) -> None:
    """50 WebSockets of push that subscribe to everything, and to all of it again."""
    topics = ["quote", f"order:{attacker.account}", f"fill:{attacker.account}", f"account:{attacker.account}"]

    async def one(self: Attacker, _number: int) -> None:
        url = self.push.replace("http", "ws", 1) + "/ws"
        async with websockets.connect(url, max_size=None, local_addr=(self.address, 0) if self.address else None) as ws:
            self.seen["connected"] += 1
            while self.goes_on:
                for operation in ("subscribe", "unsubscribe"):
                    await ws.send(json.dumps({"op": operation, "topics": topics}))
                    await ws.recv()
                self.seen["subscribed"] += 1

    await attacker.each(50, one)


ATTACKS: Final[dict[str, Attack]] = {
    "endless header": endless_header,
    "slow headers": slow_headers,
    "slow bodies": slow_bodies,
    "unknown cancels": unknown_cancels,
    "one account": one_account,
    "page reads": page_reads,
    "no such path": no_such_path,
    "connections": connections,
    "subscriptions": subscriptions,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=ATTACKS)
    for name in ("orders", "push", "account"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--address", default="")
    options = parser.parse_args()
    until_s = time.monotonic() + options.seconds
    attacker = Attacker(options.orders, options.push, options.account, options.address, until_s)
    asyncio.run(ATTACKS[options.name](attacker))
    print(json.dumps(dict(attacker.seen.most_common(6))))


if __name__ == "__main__":
    main()
