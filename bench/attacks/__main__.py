"""Effect on others of a client that means harm: submit → verdict at 200 orders/s before, during and after it.

    python -m bench attacks [--seconds 10] [--rate 200] [--only NAME,…] [--address 127.0.0.2] [--short]

A fleet of its own with a quiet market. The well-behaved load is open loop: an order goes out when it is due, and its
latency counts from then. Attackers run in a process of their own with the least priority, for they stand for another
machine; `--address` has them come from another address than the others. The aim: nobody gets no answer, and the p99
during an attack stays within twice the quiet one.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import synthetic_feed
from tidemark.fleet import FleetError
from tidemark.load.clients import open_accounts
from tidemark.load.driver import Load
from tidemark.load.http import HttpGateway
from tidemark.load.plan import account_names, actions, holdings
from tidemark.quotes import QuoteBoard
from tidemark.state import StateDir

from bench.attacks.attackers import ATTACKS
from bench.harness import conditions, show

MARKET_RATE: Final = 1_000.0
SYMBOLS: Final = 40
SYMBOLS_TRADED: Final = 20
WARM_S: Final = 5.0
SETTLE_S: Final = 1.0
"""After an attack began, before what is measured."""
ATTACKER: Final = "attacker"
NICE: Final = 19
err = Console(stderr=True)
Row = dict[str, Any]


class Attacks:
    """Measurements on one running fleet."""

    def __init__(
        self, deployment: Deployment, gateway: HttpGateway, quotes: QuoteBoard, options: argparse.Namespace
    ) -> None:
        self._deployment = deployment
        self._gateway = gateway
        self._quotes = quotes
        self._options = options
        self._held: dict[str, tuple[str, ...]] = {}

    async def run(self) -> list[Row]:
        """A row for each attack."""
        symbols = await self._quotes.wait_for_market(SYMBOLS_TRADED, 120)
        await self._quotes.watch(symbols)
        self._held = holdings(account_names(self._options.accounts, "bench"), symbols)
        await open_accounts(self._gateway, self._held)
        await self._gateway.open_account(ATTACKER, 1, ())
        await self._stretch("warm", WARM_S)
        return [await self._attack(name) for name in self._options.only]

    async def _attack(self, name: str) -> Row:
        seconds = self._options.seconds
        slug = name.replace(" ", "-")
        before = await self._stretch(f"{slug}-b", seconds)
        attacker = await self._start_attacker(name, seconds + 2 * SETTLE_S)
        await asyncio.sleep(SETTLE_S)
        during = await self._stretch(f"{slug}-d", seconds)
        seen, _ = await attacker.communicate()
        await asyncio.sleep(SETTLE_S)
        after = await self._stretch(f"{slug}-a", seconds)
        row = {
            "attack": name,
            **{
                f"p50 {when}": found["p50"]
                for when, found in (("before", before), ("during", during), ("after", after))
            },
            **{
                f"p99 {when}": found["p99"]
                for when, found in (("before", before), ("during", during), ("after", after))
            },
            "p99 ÷ before": round(during["p99"] / before["p99"], 2) if before["p99"] else 0.0,
            "no answer": during["no_answer"],
            "attackers saw": json.loads(seen or b"{}"),
        }
        err.print_json(json.dumps(row))
        return row

    async def _stretch(self, prefix: str, seconds: float) -> Row:
        load = Load(self._gateway, self._quotes, id_prefix=prefix)
        tally = await load.run(actions(self._options.seed, self._held, self._options.rate), seconds)
        return {
            "p50": round(tally.answered.percentile_ms(50), 1),
            "p99": round(tally.answered.percentile_ms(99), 1),
            "no_answer": sum(tally.errors.values()) + tally.overflow,
        }

    async def _start_attacker(self, name: str, seconds: float) -> asyncio.subprocess.Process:
        argv = ["nice", "-n", str(NICE), sys.executable, "-m", "bench.attacks.attackers", name, "--account", ATTACKER]
        argv += ["--orders", self._deployment.url("orders"), "--push", self._deployment.url("push")]
        argv += ["--seconds", str(seconds), "--address", self._options.address]
        return await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, start_new_session=True)


async def measure(options: argparse.Namespace) -> list[Row]:
    """Runs a fleet of its own."""
    feed = synthetic_feed(options.seed, MARKET_RATE, SYMBOLS)
    with tempfile.TemporaryDirectory(prefix="tidemark-attacks-") as directory:
        deploying = DeploymentOptions(any_free_ports=True, feed=feed, keep=False)
        async with (
            Deployment(StateDir(Path(directory)), deploying, err.print) as deployment,
            QuoteBoard(deployment.addresses.redis_url) as quotes,
            HttpGateway(deployment.url("orders")) as gateway,
        ):
            return await Attacks(deployment, gateway, quotes, options).run()


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if unknown := set(names) - set(ATTACKS):
        raise argparse.ArgumentTypeError(f"no attack {', '.join(unknown)}; there are {', '.join(ATTACKS)}")
    return names


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench attacks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of each stretch (default %(default)s)")
    parser.add_argument("--rate", type=float, default=200.0, help="orders a second of the others (default %(default)s)")
    parser.add_argument("--accounts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=_names, default=list(ATTACKS), help="attacks, separated by commas")
    parser.add_argument("--address", default="", help="source address of the attackers, such as 127.0.0.2")
    parser.add_argument("--short", action="store_true", help="2 s each: shows that all of it works")
    options = parser.parse_args(arguments)
    if options.short:
        options.seconds = 2.0
    return options


def main() -> None:
    options = parse()
    before = conditions()
    try:
        rows = asyncio.run(measure(options))
    except FleetError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    show("attacks: ms from the intended send time to the verdict", rows, rate_per_s=options.rate, conditions=before)


if __name__ == "__main__":
    main()
