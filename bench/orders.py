"""Orders over HTTP: from the intended send time to the committed verdict in the client's hands, idle and under a flood.

    python -m bench orders [--rate 200] [--seconds 20] [--accounts 100]

Open loop: orders go out when they are due, whatever the answers do. Idle: a quiet market keeps the marks fresh. Flood:
the synthetic exchange runs as fast as it goes. Client, broker and services share this machine.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import Any

from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import synthetic_feed
from tidemark.load.clients import open_accounts
from tidemark.load.driver import Load
from tidemark.load.http import HttpGateway
from tidemark.load.plan import account_names, actions, holdings
from tidemark.quotes import QuoteBoard
from tidemark.state import StateDir

from bench.harness import conditions, meter_of, show

QUIET_RATE = 2_000.0
SYMBOLS = 200
SYMBOLS_TRADED = 20
WARM_UP_S = 5.0


Held = dict[str, tuple[str, ...]]


async def phase(
    name: str,
    deployment: Deployment,
    gateway: HttpGateway,
    quotes: QuoteBoard,
    held: Held,
    options: argparse.Namespace,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One measured stretch of load; a shorter one before it warms everything up. Returns latencies, and cores used."""
    for stretch, seconds in (("warm", WARM_UP_S), ("measured", options.seconds)):
        meter = meter_of(deployment)
        meter.start()
        load = Load(gateway, quotes, id_prefix=f"{name}-{stretch}")
        tally = await load.run(actions(options.seed, held, options.rate), seconds)
        cpu = meter.read()
    answered, processed = tally.answered, tally.processed
    latencies = {
        "phase": name,
        "orders": answered.n,
        "verdict_p50_ms": round(answered.percentile_ms(50), 2),
        "verdict_p99_ms": round(answered.percentile_ms(99), 2),
        "processed_p50_ms": round(processed.percentile_ms(50), 2),
        "processed_p99_ms": round(processed.percentile_ms(99), 2),
        "no_answer": sum(tally.errors.values()) + tally.overflow,
    }
    return latencies, {"phase": name, **{who: round(used / meter.elapsed_s, 2) for who, used in cpu.items()}}


async def bench(options: argparse.Namespace) -> None:
    before = conditions()
    feed = synthetic_feed(options.seed, QUIET_RATE, SYMBOLS)
    with tempfile.TemporaryDirectory(prefix="tidemark-bench-") as directory:
        deploying = DeploymentOptions(any_free_ports=True, feed=feed, keep=False)
        async with (
            Deployment(StateDir(Path(directory)), deploying, print) as deployment,
            QuoteBoard(deployment.addresses.redis_url) as quotes,
            HttpGateway(deployment.url("orders")) as gateway,
        ):
            symbols = await quotes.wait_for_market(SYMBOLS_TRADED, 120)
            await quotes.watch(symbols)
            held = holdings(account_names(options.accounts, "bench"), symbols)
            await open_accounts(gateway, held)
            measured = [await phase("idle", deployment, gateway, quotes, held, options)]
            flood = synthetic_feed(options.seed, options.flood_rate, SYMBOLS, "max")
            await deployment.fleet.restart("ingest", flood)
            await deployment.fleet.wait_ready(["ingest"])
            measured.append(await phase("flood", deployment, gateway, quotes, held, options))
    show("cores used", [cores for _, cores in measured])
    show("orders", [latencies for latencies, _ in measured], rate_per_s=options.rate, conditions=before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=200.0, help="orders per second (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="per phase (default %(default)s)")
    parser.add_argument("--accounts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--flood-rate", type=float, default=100_000.0, help="events per second of the exchange's time")
    asyncio.run(bench(parser.parse_args()))


if __name__ == "__main__":
    main()
