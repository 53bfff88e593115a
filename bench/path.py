"""The whole path of an order: from intents that wait in the topic until every stage is done with them, orders a second.

    python -m bench path [--orders 20000] [--rounds 3] [--apart] [--profile worker.stacks]

The fleet runs with a quiet market. Intents are put into the topic as fast as the broker takes them, and the clock runs
from the first until no stage of the path has a record of them left; beside it stands when the gate had decided them
all. The first round warms everything up and is not shown. ``--apart`` runs each part of the orders service as a process
of its own. ``--profile``: in one round more py-spy (fetched by uv) looks at the process that runs lifecycle and venue;
the functions in which it was found most often come as a table, the stacks go to the file.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from streams.kafka.kafka_log import KafkaLog
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import synthetic_feed
from tidemark.fleet import FleetError
from tidemark.load.clients import open_accounts
from tidemark.load.http import HttpGateway
from tidemark.load.plan import account_names, actions, holdings
from tidemark.options import reader_settings
from tidemark.quotes import QuoteBoard
from tidemark.services import with_stages
from tidemark.state import StateDir

from bench.gate.risk_profile import innermost, recording
from bench.harness import conditions, meter_of, show
from bench.overload import gauges
from bench.overload.feeder import Feeder
from bench.peers import runner

SERVICES: Final = ("ingest", "signals", "risk", "orders")
MARKET_RATE: Final = 500.0
SYMBOLS: Final = 40
SYMBOLS_TRADED: Final = 20
MARKET_TIMEOUT_S: Final = 120.0
LOOK_S: Final = 0.05
GIVE_UP_S: Final = 300.0
FUNCTIONS_SHOWN: Final = 15
err = Console(stderr=True)
Row = dict[str, Any]


async def one_round(deployment: Deployment, feeder: Feeder, backlog: gauges.Backlog, orders: int) -> Row:
    """Sends so many intents and waits until the path is done with them."""
    meter = meter_of(deployment)
    meter.start()
    before, began_s = await backlog.decided(), time.monotonic()
    await feeder.send(orders)
    sent_s = time.monotonic() - began_s
    while await backlog.decided() < before + orders:
        await asyncio.sleep(LOOK_S)
    decided_s = time.monotonic() - began_s
    await backlog.until_empty(GIVE_UP_S)
    done_s = time.monotonic() - began_s
    cpu = {f"{who} µs": round(used / orders * 1e6) for who, used in meter.read().items() if who != "bench"}
    row = {
        "orders": orders,
        "sent_s": round(sent_s, 2),
        "decided_per_s": round(orders / decided_s),
        "path_per_s": round(orders / done_s),
        **cpu,
    }
    err.print(row)
    return row


def functions(collapsed: Iterable[str]) -> list[dict[str, Any]]:
    """The functions that samples of the process's main thread found at work most often, and their share."""
    samples = innermost(line for line in collapsed if "orders/__main__.py" in line)
    total = samples.total()
    return [{"function": name, "share": f"{count / total:.1%}"} for name, count in samples.most_common(FUNCTIONS_SHOWN)]


async def rounds(
    deployment: Deployment, feeder: Feeder, backlog: gauges.Backlog, options: argparse.Namespace
) -> list[Row]:
    """A round to warm up, and those that are measured; the last of them with py-spy looking, where it is to."""
    await one_round(deployment, feeder, backlog, options.orders)
    rows = [await one_round(deployment, feeder, backlog, options.orders) for _ in range(options.rounds)]
    if options.profile:
        pid = deployment.fleet.pid(with_stages("orders", deployment.fleet.names))
        async with recording(pid, options.profile):
            await one_round(deployment, feeder, backlog, options.orders)
        show("the process that runs the stages", functions(options.profile.read_text("utf-8").splitlines()))
    return rows


async def measure(options: argparse.Namespace) -> list[Row]:
    """Runs a fleet of its own. Raises FleetError, and both kinds of BenchError."""
    feed = synthetic_feed(options.seed, MARKET_RATE, SYMBOLS)
    with tempfile.TemporaryDirectory(prefix="tidemark-path-") as directory:
        deploying = DeploymentOptions(
            any_free_ports=True, feed=feed, keep=False, services=SERVICES, orders_apart=options.apart
        )
        async with (
            Deployment(StateDir(Path(directory)), deploying, err.print) as deployment,
            QuoteBoard(deployment.addresses.redis_url) as quotes,
        ):
            symbols = await quotes.wait_for_market(SYMBOLS_TRADED, MARKET_TIMEOUT_S)
            await quotes.watch(symbols)
            held = holdings(account_names(options.accounts, "path"), symbols)
            async with HttpGateway(deployment.url("orders")) as gateway:
                await open_accounts(gateway, held)
            log = KafkaLog(reader_settings(deployment.addresses), "path")
            await log.start()
            feeder = Feeder(log)
            try:
                feeder.prepare(actions(options.seed, held, 1_000.0), quotes)
                return await rounds(deployment, feeder, gauges.Backlog(deployment, log), options)
            finally:
                await feeder.stop()
                await log.stop()


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench path", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--orders", type=int, default=20_000, help="of a round (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="that are measured (default %(default)s)")
    parser.add_argument("--accounts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--apart", action="store_true", help="a process for each part of the orders service")
    parser.add_argument("--profile", type=Path, help="one round more, with py-spy looking; its stacks go here")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    before = conditions()
    try:
        rows = asyncio.run(measure(options))
    except (gauges.BenchError, runner.BenchError, FleetError) as error:
        sys.exit(str(error))
    show("path", rows, apart=options.apart, conditions=before)


if __name__ == "__main__":
    main()
