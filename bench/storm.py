"""The same storm on Tidemark and on others: SIGKILL at random while intents arrive, then every decision is counted.

    python -m bench storm [--seconds 120] [--peers tidemark,tidemark-process,ks,faust] [--seed 1]

Each processor is given the same intents at the same rate, and is killed after the same seeded delays, counted from when
it decides again; it is started anew at once, with static membership and its state kept. What a read_committed reader
sees is then held against one sequential processor that never fails: lost, duplicated, wrong, money off by.
"""

import argparse
import asyncio
import itertools
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from parts import PartsError
from rich.console import Console
from streams.model.topics import DEFAULT_PARTITIONS

from bench.harness import conditions, show
from bench.peers import programs
from bench.peers.programs import Program, Work
from bench.peers.runner import STOP_GRACE_S, BenchError, Runner, Running, make_topics, parts
from bench.peers.verdict import Decision, Intent, judge

CALM_S: Final = (3.0, 9.0)
"""Between deciding again and the next kill."""
IDLE_MAX_S: Final = 60.0
"""Without any new decision this long there will be none."""
SETTLE_S: Final = 3.0
"""A duplicate may come after the last answer."""
INSTANCE: Final = "storm"
err = Console(stderr=True)
MAKERS: Final[dict[str, Callable[[Work], Program]]] = {
    "tidemark": programs.tidemark,
    "tidemark-process": lambda work: programs.tidemark(work, producers="process"),
    "ks": lambda work: programs.streams(work, 100, group_instance_id=INSTANCE),
    "faust": lambda work: programs.faust(work, instance=INSTANCE),
}


class Watch:
    """Reads the committed decisions as they come."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self.decisions: list[Decision] = []
        self.decided: set[int] = set()
        self.receipts_s: list[float] = []
        self.newest_s = time.monotonic()
        """When an intent was last decided for the first time."""

    async def run(self) -> None:
        """Until cancelled."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, isolation_level="read_committed", auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            consumer.assign([TopicPartition(self._topic, number) for number in range(DEFAULT_PARTITIONS)])
            while True:
                found = await consumer.getmany(timeout_ms=200)
                self._take([record.value for records in found.values() for record in records])
        finally:
            await consumer.stop()

    def _take(self, values: Iterable[bytes]) -> None:
        before = len(self.decided)
        for value in values:
            body = json.loads(value)
            decision = Decision(
                body["intent_id"], body["account"], body["accepted"], body["seq"], body["reserved"]
            )  # fmt: skip
            self.decisions.append(decision)
            self.decided.add(decision.intent_id)
        if len(self.decided) > before:
            self.newest_s = time.monotonic()
            self.receipts_s.append(self.newest_s)

    async def decides(self, since_s: float, running: Running) -> bool:
        """Waits for a decision that is newer; whether one came before one must give up."""
        while self.newest_s <= since_s:
            running.check()
            if time.monotonic() - max(since_s, self.newest_s) > IDLE_MAX_S:
                return False
            await asyncio.sleep(0.05)
        return True


def pauses(kills_s: list[float], receipts_s: list[float]) -> list[float]:
    """For each kill, the longest silence between it and the next one."""
    found = []
    for kill_s, end_s in zip(kills_s, [*kills_s[1:], float("inf")], strict=True):
        after = [kill_s, *(at for at in receipts_s if at > kill_s)]
        gaps = [min(later, end_s) - at for at, later in itertools.pairwise(after) if at < end_s]
        found.append(max(gaps, default=0.0))
    return found


async def read_intents(bootstrap: str, topic: str) -> list[Intent]:
    """The intents as they stand in the log, an account's in order."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    found: list[Intent] = []
    try:
        partitions = [TopicPartition(topic, number) for number in range(DEFAULT_PARTITIONS)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        while any([await consumer.position(each) < ends[each] for each in partitions]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                bodies = (json.loads(record.value) for record in records)
                found += [Intent(body["intent_id"], body["account"], body["qty"] * body["price_e4"]) for body in bodies]
    finally:
        await consumer.stop()
    return found


class Storm:
    """One processor in the storm."""

    def __init__(self, runner: Runner, bootstrap: str, name: str, options: argparse.Namespace) -> None:
        self._runner = runner
        self._bootstrap = bootstrap
        self._options = options
        self._work = Work(bootstrap, f"storm.{name}.intents", f"storm.{name}", runner.new_directory(name))
        self._program = MAKERS[name](self._work)
        self._watch = Watch(bootstrap, self._work.decisions)
        self._kills_s: list[float] = []

    async def run(self) -> dict[str, Any]:
        """The line of the table."""
        work, options = self._work, self._options
        err.print(self._program.label)
        await make_topics(self._bootstrap, work.intents, work=work)
        load = {"intents": work.intents, "accounts": options.accounts, "rate": options.rate}
        load |= {"seconds": options.seconds, "seed": options.seed}
        watching = asyncio.create_task(self._watch.run())
        sending = asyncio.create_task(self._runner.client(self._bootstrap, "pace", load))
        running = await self._runner.start(self._program)
        try:
            running = await self._kill_until(sending, running)
            await sending
            await self._drained(running, round(options.rate * options.seconds))
        finally:
            sending.cancel()
            await running.child.stop(STOP_GRACE_S)
            watching.cancel()
            await asyncio.gather(sending, watching, return_exceptions=True)
        return self._row(await read_intents(self._bootstrap, work.intents))

    async def _kill_until(self, sending: "asyncio.Task[Any]", running: Running) -> Running:
        choice = random.Random(self._options.seed)
        since_s = self._watch.newest_s
        while await self._watch.decides(since_s, running):
            await asyncio.wait([sending], timeout=choice.uniform(*CALM_S))
            if sending.done():
                break
            await running.kill()
            since_s = time.monotonic()
            self._kills_s.append(since_s)
            running = await self._runner.start(self._program)
        return running

    async def _drained(self, running: Running, count: int) -> None:
        while len(self._watch.decided) < count and time.monotonic() - self._watch.newest_s < IDLE_MAX_S:
            running.check()
            await asyncio.sleep(0.1)
        await asyncio.sleep(SETTLE_S)

    def _row(self, intents: list[Intent]) -> dict[str, Any]:
        verdict = judge(intents, self._watch.decisions)
        silent = pauses(self._kills_s, self._watch.receipts_s)
        return {
            "processor": self._program.label,
            "kills": len(self._kills_s),
            "intents": verdict.intents,
            "lost": verdict.lost,
            "duplicated": verdict.duplicated,
            "wrong": verdict.wrong,
            "money off by": verdict.money_off_e4 / 10_000,
            "pause p50 s": round(statistics.median(silent), 2) if silent else "",
            "pause max s": round(max(silent), 2) if silent else "",
        }


async def run(options: argparse.Namespace) -> None:
    before = conditions()
    with Runner.temporary(options.keep) as runner:
        async with parts("kafka") as where:
            rows = [await Storm(runner, where.kafka_bootstrap, name, options).run() for name in options.peers]
    show("storm", rows, conditions=before, seed=options.seed, seconds=options.seconds, rate=options.rate)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="bench storm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=120.0, help="of load for each (default %(default)s)")
    parser.add_argument("--rate", type=float, default=500.0, help="intents per second (default %(default)s)")
    parser.add_argument("--accounts", type=int, default=500, help="few enough that some intents are denied")
    parser.add_argument("--peers", default=",".join(MAKERS), help="which (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the intents and of the kills")
    parser.add_argument("--keep", type=Path, help="a directory for logs and stores (default: thrown away)")
    options = parser.parse_args()
    options.peers = tuple(options.peers.split(","))
    if unknown := set(options.peers) - set(MAKERS):
        parser.error(f"no such processor: {', '.join(sorted(unknown))}; there are {', '.join(MAKERS)}")
    try:
        asyncio.run(run(options))
    except (PartsError, BenchError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
