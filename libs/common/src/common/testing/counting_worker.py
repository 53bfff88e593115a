"""A worker for tests that kill, stop and race: one counting stage on a real broker, until SIGTERM."""

import argparse
import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

from streams.model.declaration import Stage
from streams.model.message import Message, Output
from streams.model.tables import Changelogged, Codec, Tables
from streams.process.logs import configure_logs
from streams.process.settings import KafkaSettings, RestartSettings, Settings
from streams.stage.runner import StageService

from common.contracts.topics import RAW_SCHEMA, Topic

PARTITIONS = 2


def topics(prefix: str) -> dict[str, Topic]:
    """Input, its dead letters, output and changelog, by purpose."""
    names = {"input": "input", "dead": "input.dlq", "output": "output", "changelog": "count.changelog"}
    return {
        purpose: Topic(
            f"{prefix}.{name}", "account", RAW_SCHEMA, "test", PARTITIONS,
            cleanup="compact" if purpose == "changelog" else "delete",
        )
        for purpose, name in names.items()
    }  # fmt: skip


def counting_stage(prefix: str) -> Stage:
    """Numbers the messages of each account."""
    named = topics(prefix)

    def count(message: Message, tables: Tables, now_ns: int) -> Iterator[Output]:
        accounts = tables.changelogged("accounts")
        assert message.key is not None
        number = (accounts.get(message.key) or 0) + 1
        accounts.put(message.key, number)
        yield Output(named["output"], message.key, b"%s %d" % (message.body, number), message.partition)

    table = Changelogged("accounts", Codec(lambda number: b"%d" % number, int))
    return Stage(prefix, "count", count, (named["input"],), (named["output"],), named["changelog"], (table,))


async def serve(prefix: str, settings: Settings) -> None:
    """Until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    service = StageService(counting_stage(prefix), settings, None)
    await service.start()
    await stopped.wait()
    await service.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--worker", required=True)
    parser.add_argument("--producers", choices=("task", "process"), required=True)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    configure_logs("counting-worker", "INFO")
    settings = Settings(
        kafka=KafkaSettings(bootstrap=options.bootstrap),
        data_dir=options.data,
        worker_id=options.worker,
        producers=options.producers,
        session_timeout_ms=6_000,
        heartbeat_interval_ms=500,
        restart=RestartSettings(backoff_min_s=0.2),
    )
    asyncio.run(serve(options.prefix, settings))


if __name__ == "__main__":
    main()
