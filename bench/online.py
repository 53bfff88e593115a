"""The online path, feed → Kafka → signals → Kafka: messages per CPU-second of ingest and of signals.

    python -m bench online [--messages 10000000] [--symbols 500]

First ingest alone puts a generated session from a file on ``md.ticks`` as fast as it goes, then signals alone works it
off: books, bars, marks and views, transactional, through the real broker. CPU time is user and system time of the
process from ``/proc/<pid>/stat``, between the moments when a twentieth and when all of the messages were through, so
that starting and compiling are not in it.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from tidemark import metrics
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import IDLE_FEED, file_feed
from tidemark.process import cpu_seconds
from tidemark.state import StateDir

from bench.harness import conditions, show

POLL_S = 0.05
WARM_SHARE = 0.05
TIMEOUT_S = 900.0
DAY = "2024-03-15"


async def through(deployment: Deployment, service: str, metric: str) -> float:
    """Messages that the service has handled, by its own metrics."""
    pages = await metrics.scrape({service: deployment.operations_url(service)})
    return metrics.total(pages[service], metric)


async def measure(deployment: Deployment, service: str, metric: str, messages: int) -> dict[str, Any]:
    """Waits until the service has handled all messages; returns its figures and the broker's."""
    assert deployment.stack is not None
    pids = {"service": deployment.fleet.pid(service), "kafka": deployment.stack.pid("kafka")}
    began: tuple[float, float, dict[str, float]] | None = None
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            done = await through(deployment, service, metric)
            now = (done, time.monotonic(), {name: cpu_seconds(pid) for name, pid in pids.items()})
            if began is None and done >= WARM_SHARE * messages:
                began = now
            if done >= messages:
                break
            await asyncio.sleep(POLL_S)
    assert began is not None
    handled, seconds = now[0] - began[0], now[1] - began[1]
    cpu = {name: now[2][name] - began[2][name] for name in pids}
    return {
        "service": service,
        "messages": int(handled),
        "messages_per_cpu_s": round(handled / cpu["service"]),
        "messages_per_s": round(handled / seconds),
        "cpu_s": round(cpu["service"], 2),
        "kafka_cpu_s": round(cpu["kafka"], 2),
        "seconds": round(seconds, 2),
    }


def write_feed(path: Path, exchange: ExchangeOptions) -> None:
    """The synthetic exchange's session as a recorded file."""
    with path.open("wb") as file:
        file.writelines(exchange_chunks(exchange))


async def bench(options: argparse.Namespace) -> None:
    before = conditions()
    with tempfile.TemporaryDirectory(prefix="tidemark-bench-") as directory:
        path = Path(directory) / f"{DAY}.itch"
        exchange = ExchangeOptions(
            symbols=options.symbols, seed=options.seed, rate=options.rate, messages=options.messages
        )
        await asyncio.to_thread(write_feed, path, exchange)
        deploying = DeploymentOptions(
            any_free_ports=True, feed=IDLE_FEED, services=("ingest", "signals"), keep=False, fresh=True
        )
        async with Deployment(StateDir(Path(directory)), deploying, print) as deployment:
            fleet = deployment.fleet
            await fleet.stop(["signals"])
            await fleet.restart("ingest", file_feed(path, "max", DAY) | {"TIDEMARK_FEED_LINGER": "false"})
            rows = [await measure(deployment, "ingest", "tidemark_ingest_ticks_total", options.messages)]
            await fleet.start(["signals"])
            rows.append(await measure(deployment, "signals", "tidemark_signals_ticks_total", options.messages))
    show("online", rows, symbols=options.symbols, conditions=before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=10_000_000, help="(default %(default)s)")
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--rate", type=int, default=100_000, help="events per second of the exchange's own time")
    parser.add_argument("--seed", type=int, default=1)
    asyncio.run(bench(parser.parse_args()))


if __name__ == "__main__":
    main()
