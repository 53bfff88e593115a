"""What identities and TLS cost an order: an open fleet and one as `up --secure` makes it, side by side and in turns.

    python -m bench secure [--rate 100] [--seconds 20] [--turns 3] [--accounts 50]

Both stand on this machine with the same quiet market, and a screen that follows the accounts at each. They take turns
with the same orders, so that what else the machine does meets both. CPU is each process's own, for each order that was
answered; the market's share is in it, and the same at both. Clients speak HTTP in the clear to both, as `--secure` has
it; there they say who they are.
"""

import argparse
import asyncio
import tempfile
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

from common.contracts.rights import Role
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import synthetic_feed
from tidemark.load.clients import open_accounts
from tidemark.load.driver import Load
from tidemark.load.http import HttpGateway
from tidemark.load.latency import LatencyClock
from tidemark.load.plan import account_names, actions, holdings
from tidemark.quotes import QuoteBoard
from tidemark.state import StateDir
from tidemark.watcher import Watcher

from bench.harness import conditions, meter_of, show

MARKET_RATE = 500.0
SYMBOLS = 50
SYMBOLS_TRADED = 20
WARM_UP_S = 5.0
CPU_MORE_MAX = 0.15
P50_MORE_MS_MAX = 1.0


class Side:
    """One of the two fleets, with clients of its own, and what its turns have shown so far."""

    def __init__(self, name: str, stack: AsyncExitStack, options: argparse.Namespace) -> None:
        self.name = name
        self._stack = stack
        self._options = options
        self._cpu_s: dict[str, float] = defaultdict(float)
        self._answered = LatencyClock()
        self._turns = 0

    async def open(self, directory: Path) -> Self:
        """The fleet, its market, its accounts and its screen."""
        secure = self.name == "secure"
        feed = synthetic_feed(self._options.seed, MARKET_RATE, SYMBOLS)
        deploying = DeploymentOptions(any_free_ports=True, feed=feed, keep=False, access=secure, secure=secure)
        enter = self._stack.enter_async_context
        self.deployment = await enter(Deployment(StateDir(directory / self.name), deploying, print))
        self._quotes = await enter(QuoteBoard(self.deployment.addresses.redis_url))
        symbols = await self._quotes.wait_for_market(SYMBOLS_TRADED, 120)
        await self._quotes.watch(symbols)
        trades = self.deployment.credential("load", (Role.TRADER, Role.OPERATOR))
        watches = self.deployment.credential("watcher", (Role.AUDITOR, Role.MARKET_RAW))
        self._gateway = await enter(HttpGateway(self.deployment.url("orders"), credential=trades))
        self._held = holdings(account_names(self._options.accounts, "bench"), symbols)
        await open_accounts(self._gateway, self._held)
        await enter(Watcher(self.deployment.url("push"), list(self._held), watches))
        await self.turn(WARM_UP_S, counts=False)
        return self

    async def turn(self, seconds: float, *, counts: bool = True) -> None:
        """Orders for so long. ``counts``: they are measured."""
        self._turns += 1
        meter = meter_of(self.deployment)
        load = Load(self._gateway, self._quotes, id_prefix=f"turn{self._turns}")
        meter.start()
        tally = await load.run(actions(self._options.seed, self._held, self._options.rate), seconds)
        if counts:
            for who, used_s in meter.read().items():
                self._cpu_s[who] += used_s
            self._answered.merge(tally.answered)

    def cpu_ms_per_order(self) -> dict[str, float]:
        return {who: 1_000 * used / max(self._answered.n, 1) for who, used in self._cpu_s.items()}

    @property
    def orders(self) -> int:
        return self._answered.n

    @property
    def p50_ms(self) -> float:
        """From the intended send time to the verdict in the client's hands."""
        return self._answered.percentile_ms(50)


def rows(plain: Side, secure: Side) -> list[dict[str, Any]]:
    """One for each process of the way, one for all of them, one for the time."""
    before, after = plain.cpu_ms_per_order(), secure.cpu_ms_per_order()
    before["all"], after["all"] = (
        sum(used for who, used in each.items() if who != "bench") for each in (before, after)
    )
    made = [
        {
            "what": f"CPU ms an order, {who}",
            "open": round(before[who], 3),
            "secure": round(after[who], 3),
            "more": f"{after[who] / before[who] - 1:+.1%}" if before[who] else "",
            "at most": f"{CPU_MORE_MAX:+.0%}" if who == "all" else "",
        }
        for who in before
        if who != "bench"
    ]
    more_ms = secure.p50_ms - plain.p50_ms
    time = {"what": "verdict, p50 ms", "open": round(plain.p50_ms, 2), "secure": round(secure.p50_ms, 2)}
    return [*made, time | {"more": f"{more_ms:+.2f} ms", "at most": f"{P50_MORE_MS_MAX:+.0f} ms"}]


async def bench(options: argparse.Namespace) -> None:
    before = conditions()
    with tempfile.TemporaryDirectory(prefix="tidemark-bench-") as directory:
        async with AsyncExitStack() as stack:
            # The open one first: while the other stands, this process is the command line to its parts.
            plain = await Side("open", stack, options).open(Path(directory))
            secure = await Side("secure", stack, options).open(Path(directory))
            for number in range(options.turns):
                for side in (plain, secure) if number % 2 == 0 else (secure, plain):
                    await side.turn(options.seconds)
    orders = {"orders_open": plain.orders, "orders_secure": secure.orders}
    show("secure", rows(plain, secure), rate_per_s=options.rate, **orders, conditions=before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=100.0, help="orders per second (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="per turn (default %(default)s)")
    parser.add_argument("--turns", type=int, default=3, help="of each (default %(default)s)")
    parser.add_argument("--accounts", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    asyncio.run(bench(parser.parse_args()))


if __name__ == "__main__":
    main()
