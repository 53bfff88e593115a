"""The bare gate on the stage runtime: decide, reserve, changelog. The same work as the peers' W2, and nothing else.

One process, one event loop. Prints one JSON line: intents per second and per CPU-second of this process, from the first
record handled to the commit of the last one.
"""

import argparse
import asyncio
import json
import resource
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from common.contracts.topics import RAW_SCHEMA, Topic
from streams.model.declaration import Stage
from streams.model.message import Message, Output
from streams.model.tables import Changelogged, Codec, Tables
from streams.process.settings import KafkaSettings, Settings
from streams.service.app import calm_garbage_collection
from streams.stage.runner import StageService

CASH_E4 = 300_000 * 10_000
ACCOUNT = struct.Struct("<qqq")


class Intent(msgspec.Struct):
    """The peers' intent, the fields that the work reads."""

    intent_id: int
    account: str
    qty: int
    price_e4: int


class Decision(msgspec.Struct):
    """The peers' decision."""

    intent_id: int
    account: str
    accepted: bool
    seq: int
    reserved: int


decode = msgspec.json.Decoder(Intent).decode
encode = msgspec.json.Encoder().encode


class Meter:
    """CPU and wall time from the first message to the commit that covers the last one."""

    def __init__(self, messages: int) -> None:
        self.messages = messages
        self.handled = 0
        self.began: tuple[float, float] | None = None
        self.half: tuple[float, float] | None = None
        self.half_at = messages // 2

    @staticmethod
    def now() -> tuple[float, float]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return time.perf_counter(), usage.ru_utime + usage.ru_stime

    def hit(self, count: int = 1) -> None:
        if not self.handled:
            self.began = self.now()
        self.handled += count
        if self.half is None and self.handled >= self.half_at:
            self.half, self.half_at = self.now(), self.handled

    def result(self) -> dict[str, Any]:
        assert self.began and self.half
        end = self.now()

        def part(start: tuple[float, float], count: int) -> dict[str, float]:
            wall, cpu = end[0] - start[0], end[1] - start[1]
            return {"s": round(wall, 3), "per_s": round(count / wall), "per_cpu_s": round(count / cpu)}

        steady = part(self.half, self.messages - self.half_at)
        return {"messages": self.messages, "all": part(self.began, self.messages), "steady": steady}


def make_stage(app: str, intents: str, decisions: str, changelog: str, meter: Meter) -> Stage:
    """W2: a decision per intent, {cash, reserved, seq} per account in RocksDB."""
    output = Topic(decisions, "account", RAW_SCHEMA, "bench")

    def gate(message: Message, tables: Tables, now_ns: int) -> Iterator[Output]:
        accounts = tables.changelogged("accounts")
        intent = decode(message.value)  # type: ignore[arg-type]
        key = message.key
        assert key is not None
        cash, reserved, seq = accounts.get(key) or (CASH_E4, 0, 0)
        need = intent.qty * intent.price_e4
        accepted = cash - reserved >= need
        if accepted:
            reserved += need
        accounts.put(key, (cash, reserved, seq + 1))
        meter.hit()
        yield Output(
            output, key, encode(Decision(intent.intent_id, intent.account, accepted, seq + 1, reserved)),
            message.partition,
        )  # fmt: skip

    table = Changelogged("accounts", Codec(lambda row: ACCOUNT.pack(*row), ACCOUNT.unpack))
    return Stage(
        app, "gate", gate, (Topic(intents, "account", RAW_SCHEMA, "bench"),), (output,),
        Topic(changelog, "account", RAW_SCHEMA, "bench", cleanup="compact"), (table,),
    )  # fmt: skip


async def run(options: argparse.Namespace) -> None:
    """Serves until every intent's transaction is committed (for ever with --messages 0)."""
    meter = Meter(options.messages)
    stage = make_stage(options.app, options.intents, options.decisions, options.changelog, meter)
    chosen = {"producers": options.producers} if options.producers else {}
    settings = Settings(
        kafka=KafkaSettings(bootstrap=options.bootstrap), data_dir=options.data, worker_id="bench", **chosen
    )
    service = StageService(stage, settings, None)
    await service.start()
    calm_garbage_collection()
    while not options.messages or sum(t.positions.get(options.intents, 0) for t in service.tasks()) < options.messages:
        await asyncio.sleep(0.005)
    print(json.dumps(meter.result()), flush=True)
    await service.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument(
        "--app",
        default="bench",
        help="names the group; a new one for other topics, or the static member keeps its old ones",
    )
    parser.add_argument("--intents", default="bench.intents")
    parser.add_argument("--decisions", default="bench.decisions")
    parser.add_argument("--changelog", default="bench.gate.changelog")
    parser.add_argument("--messages", type=int, default=0, help="stop after this many; 0: serve until killed")
    parser.add_argument("--producers", choices=("task", "process"), help="one for each; by default as set")
    parser.add_argument("--data", type=Path, required=True)
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
