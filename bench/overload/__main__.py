"""Ten times what the gate manages, for minutes: memory of every worker, what is refused, and when it is normal again.

    python -m bench overload [--seconds 300] [--factor 10] [--backlog-seconds 30] [--short]

The fleet runs with a quiet market. First its normal latency from submit to verdict is taken, and how many intents a
second the gate decides when they wait in the topic, and the whole path of an order is done with (lifecycle and venue
are slower than the gate). Then, for the time given, intents go into the topic at `factor` times what the gate manages,
in bursts: topics are the buffer, and whenever one of them holds `backlog-seconds` of the path's work the burst pauses
(0: never; mind that a backlog of ten times 300 s takes hours to work off). Orders over HTTP come at `--http-rate`
meanwhile, whatever the answers are. Memory is each process's resident set (VmRSS), every second. Afterwards: seconds
from the end of the load until submit to verdict is normal again, and the committed log is counted. Exits with 1 where
an intent was lost or answered twice, money was made, or a process died.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Final

from common.contracts.topics import ORDERS_INTENTS, RISK_DECISIONS, RISK_LEDGER
from rich.console import Console
from streams.kafka.kafka_log import KafkaLog
from tidemark.audit.run import DEAD, Folds
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import synthetic_feed
from tidemark.fleet import FleetError
from tidemark.load.clients import open_accounts
from tidemark.load.driver import Load, Tally
from tidemark.load.http import HttpGateway
from tidemark.load.plan import account_names, actions, holdings
from tidemark.log_end import read_committed
from tidemark.options import reader_settings
from tidemark.quotes import QuoteBoard
from tidemark.state import StateDir

from bench.harness import conditions, meter_of, show
from bench.overload.feeder import Feeder
from bench.overload.gauges import LOOK_S, Backlog, BenchError, Memory, Probes, normal_after_s

SERVICES: Final = ("ingest", "signals", "risk", "orders")
MARKET_RATE: Final = 1_000.0
SYMBOLS: Final = 40
SYMBOLS_TRADED: Final = 20
PROBE_RATE: Final = 20.0
RECOVERY_MAX_S: Final = 300.0
IN_FLIGHT_MAX: Final = 1_500
"""HTTP requests in flight at most: more than the API lets wait for a verdict."""
err = Console(stderr=True)


@dataclass
class Overload:
    """One measurement on a running fleet."""

    deployment: Deployment
    quotes: QuoteBoard
    options: argparse.Namespace
    backlog: Backlog
    feeder: Feeder
    held: dict[str, tuple[str, ...]] = field(default_factory=dict)

    async def run(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The rows of the memory table, and everything else."""
        options = self.options
        symbols = await self.quotes.wait_for_market(SYMBOLS_TRADED, 120)
        await self.quotes.watch(symbols)
        self.held = holdings(account_names(options.accounts, "overload"), symbols)
        async with HttpGateway(self.deployment.url("orders"), IN_FLIGHT_MAX) as gateway:
            await open_accounts(gateway, self.held)
            self.feeder.prepare(actions(options.seed, self.held, 1_000.0), self.quotes)
            normal = await self._normal(gateway)
            limit_ms = max(2 * normal["p50_ms"], normal["p99_ms"])
            gate_per_s, fleet_per_s = await self._capacity()
            err.print(f"{normal}; intents/s: the gate {gate_per_s:.0f}, the whole path of an order {fleet_per_s:.0f}")
            fleet = self.deployment.fleet
            memory = Memory({name: fleet.pid(name) for name in fleet.names} | self._parts())
            sampling = asyncio.create_task(memory.sample())
            meter = meter_of(self.deployment)
            meter.start()
            try:
                flood, load = await self._overload(gateway, gate_per_s, fleet_per_s)
                cores = {who: round(used / meter.elapsed_s, 2) for who, used in meter.read().items()}
                recovery = await self._recover(gateway, limit_ms)
                load["http"] = _answers(await flood)
            finally:
                sampling.cancel()
        deaths = {name: fleet.deaths(name) for name in fleet.names if fleet.deaths(name)}
        report: dict[str, Any] = {
            "cores_used": cores,
            "normal": normal,
            "gate_per_s": round(gate_per_s),
            "fleet_per_s": round(fleet_per_s),
            **load,
            **recovery,
            "deaths": deaths,
        }
        return memory.rows(), report | await self._count()

    def _parts(self) -> dict[str, int]:
        stack = self.deployment.stack
        return {} if stack is None else {name: stack.pid(name) for name in ("kafka", "redis")}

    async def _normal(self, gateway: HttpGateway) -> dict[str, float]:
        """Submit to verdict with nothing else going on; a stretch before it warms everything up."""
        for stretch in ("warm", "normal"):
            probes = Probes(gateway)
            load = Load(probes, self.quotes, id_prefix=stretch)
            await load.run(actions(self.options.seed, self.held, PROBE_RATE), self.options.normal_seconds)
        found = probes.latencies()
        if not found:
            raise BenchError(f"no order was answered: {dict(load.tally.errors)}")
        return {"p50_ms": round(found[len(found) // 2], 1), "p99_ms": round(found[int(0.99 * (len(found) - 1))], 1)}

    async def _capacity(self) -> tuple[float, float]:
        """Intents a second that the gate decides when they wait for it, and that the fleet is done with."""
        before, began_s, count = await self.backlog.decided(), time.monotonic(), self.options.capacity
        await self.feeder.send(count)
        while await self.backlog.decided() < before + count:
            await asyncio.sleep(LOOK_S / 5)
        gate_s = time.monotonic() - began_s
        await self.backlog.until_empty(RECOVERY_MAX_S)
        return count / gate_s, count / (time.monotonic() - began_s)

    async def _overload(
        self, gateway: HttpGateway, gate_per_s: float, fleet_per_s: float
    ) -> tuple[asyncio.Task[Tally], dict[str, Any]]:
        """Returns when nothing more is sent; the orders over HTTP that still wait for their answer go on waiting."""
        options = self.options
        sent_before, decided_before, began_s = self.feeder.sent, await self.backlog.decided(), time.monotonic()
        load = Load(gateway, self.quotes, id_prefix="flood")
        flood = asyncio.create_task(load.run(actions(options.seed, self.held, options.http_rate), options.seconds))
        bursts_s = await self._bursts(gate_per_s, fleet_per_s, began_s + options.seconds)
        seconds = time.monotonic() - began_s
        decided, waiting = await self.backlog.decided() - decided_before, await self.backlog.waiting()
        sent = self.feeder.sent - sent_before
        return flood, {
            "seconds": round(seconds, 1),
            "topic": {
                "sent": sent,
                "per_s_in_bursts": round(sent / bursts_s) if bursts_s else 0,
                "decided_per_s": round(decided / seconds),
                "backlog_max": self.backlog.most,
                "backlog_at_end": waiting,
            },
        }

    async def _bursts(self, gate_per_s: float, fleet_per_s: float, until_s: float) -> float:
        """Fills the topic until the time. Returns for how long it was being filled."""
        options = self.options
        backlog_max = options.backlog_seconds * fleet_per_s if options.backlog_seconds else inf
        count = max(1, round(gate_per_s * options.factor * LOOK_S))
        bursts_s = 0.0
        while (now_s := time.monotonic()) < until_s:
            if await self.backlog.waiting() < backlog_max:
                await self.feeder.send(count)
                await asyncio.sleep(max(0.0, now_s + LOOK_S - time.monotonic()))
                bursts_s += time.monotonic() - now_s
            else:
                await asyncio.sleep(LOOK_S)
        return bursts_s

    async def _recover(self, gateway: HttpGateway, limit_ms: float) -> dict[str, Any]:
        """Probes until they are answered as before."""
        ended_s, began_s = time.time(), time.monotonic()
        probes = Probes(gateway)
        load = Load(probes, self.quotes, id_prefix="recovery")
        probing = asyncio.create_task(load.run(actions(self.options.seed, self.held, PROBE_RATE), RECOVERY_MAX_S))
        drained_s: float | None = None
        try:
            while (normal_s := normal_after_s(probes.seen, ended_s, limit_ms)) is None:
                if drained_s is None and await self.backlog.waiting() < PROBE_RATE:
                    drained_s = time.monotonic() - began_s
                if time.monotonic() - began_s > RECOVERY_MAX_S:
                    raise BenchError(f"not normal again {RECOVERY_MAX_S:g} s after the load; {dict(load.tally.errors)}")
                await asyncio.sleep(LOOK_S)
        finally:
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)
        drained = round(time.monotonic() - began_s if drained_s is None else drained_s, 1)
        return {"normal_means_p50_below_ms": round(limit_ms, 1), "drained_after_s": drained, "normal_after_s": normal_s}

    async def _count(self) -> dict[str, Any]:
        """Holds the committed log to its promises: an answer for every intent, and no money made or lost."""
        await self.backlog.until_empty(RECOVERY_MAX_S)
        folds = Folds()
        topics = (ORDERS_INTENTS, DEAD[0], RISK_DECISIONS, RISK_LEDGER)
        async for messages in read_committed(reader_settings(self.deployment.addresses), topics):
            for message in messages:
                folds.apply(message)
        answers = folds.intents.result()
        ledger = folds.ledger
        wrong = (answers.findings, ledger.gaps, ledger.unbalanced, folds.unreadable)
        return {
            "intents": answers.compared,
            "accepted": folds.accepted,
            "denied": folds.denied,
            "not_answered_exactly_once": answers.findings.count,
            "ledger_sum_e4": ledger.ledger_sum_e4,
            "violations": sum(found.count for found in wrong) + (ledger.ledger_sum_e4 != 0),
        }


def _answers(tally: Tally) -> dict[str, Any]:
    return {
        "sent": tally.sent,
        "answered": tally.accepted + tally.denied + tally.cancels,
        "refused": dict(tally.errors.most_common(6)),
        "not_sent": tally.overflow,
    }


async def measure(options: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Runs a fleet of its own. Returns the memory table and everything else."""
    feed = synthetic_feed(options.seed, MARKET_RATE, SYMBOLS)
    with tempfile.TemporaryDirectory(prefix="tidemark-overload-") as directory:
        deploying = DeploymentOptions(any_free_ports=True, feed=feed, keep=False, services=SERVICES)
        async with (
            Deployment(StateDir(Path(directory)), deploying, err.print) as deployment,
            QuoteBoard(deployment.addresses.redis_url) as quotes,
        ):
            log = KafkaLog(reader_settings(deployment.addresses), "overload")
            await log.start()
            feeder = Feeder(log)
            try:
                return await Overload(deployment, quotes, options, Backlog(deployment, log), feeder).run()
            finally:
                await feeder.stop()
                await log.stop()


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench overload", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=300.0, help="of overload (default %(default)s)")
    parser.add_argument("--factor", type=float, default=10.0, help="times what the gate manages (default %(default)s)")
    parser.add_argument(
        "--backlog-seconds", type=float, default=30.0, help="in the topic at most (default %(default)s)"
    )
    parser.add_argument("--http-rate", type=float, default=300.0, help="orders a second (default %(default)s)")
    parser.add_argument("--accounts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--capacity", type=int, default=20_000, help="intents to find out what the gate manages")
    parser.add_argument("--normal-seconds", type=float, default=8.0, help="to find out what is normal")
    parser.add_argument("--short", action="store_true", help="10 s of overload: shows that all of it works")
    options = parser.parse_args(arguments)
    if options.short:
        options.seconds, options.backlog_seconds, options.capacity, options.normal_seconds = 10.0, 4.0, 4_000, 3.0
    if min(options.seconds, options.factor, options.http_rate, options.normal_seconds) <= 0 or options.accounts < 1:
        parser.error("seconds, factor, rate and accounts are above 0")
    return options


def main() -> None:
    options = parse()
    before = conditions()
    try:
        rows, report = asyncio.run(measure(options))
    except (BenchError, FleetError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    err.print_json(json.dumps(report))
    show("overload", rows, **report, conditions=before)
    sys.exit(1 if report["violations"] or report["deaths"] else 0)


if __name__ == "__main__":
    main()
