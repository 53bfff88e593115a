"""How fast a task's store is filled from its changelog: rows per second and per CPU-second.

    python -m bench restore [--rows 1000000] [--bootstrap HOST:PORT]

Account rows of the gate on a real broker, copied into RocksDB by the code that an opening task and a standby use: once
as it is, once held to the gate's invariants row by row. Then the full store is closed and opened, which is what is left
to do for a standby that takes over.
"""

import argparse
import asyncio
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from common.contracts.events import AccountStatus
from common.contracts.topics import CHANGELOG_SCHEMA, Topic
from common.fleet_topics import create_topics
from common.testing.changelog import write_rows
from parts import PartsError
from rich.console import Console
from risk.domain.account import AccountRow
from risk.stages import VERIFY
from risk.tables import TABLES, row_codec
from streams.kafka.kafka_log import KafkaLog
from streams.model.log import Partition
from streams.model.row_check import RowCheck
from streams.model.tables import Changelogged
from streams.opening.restore import ChangelogCopy
from streams.process.settings import KafkaSettings, Settings
from streams.state.store import RocksStore, row_key

from bench.harness import conditions, show
from bench.peers.runner import parts

ACCOUNT_E4: Final = 100_000_0000
err = Console(stderr=True)


def account_rows(count: int) -> Iterator[tuple[bytes, bytes]]:
    """Changelog rows of the gate's accounts, each with its first cash."""
    encode = row_codec(AccountRow).encode
    for number in range(count):
        account = AccountRow(AccountStatus.ACTIVE, ACCOUNT_E4 + number, 0, 1)
        yield row_key("accounts", b"account-%07d" % number), encode(account)


async def copy(log: KafkaLog, changelog: Partition, store: RocksStore, check: RowCheck | None) -> dict[str, Any]:
    """One restore from nothing."""
    end = await log.high_watermark(changelog)
    began, cpu = time.perf_counter(), time.process_time()
    copying = ChangelogCopy(log, changelog, store, check=check)
    try:
        await copying.upto(end)
    finally:
        await copying.close()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {
        "rows": copying.rows,
        "seconds": round(seconds, 2),
        "rows /s": round(copying.rows / seconds),
        "rows /CPU-s": round(copying.rows / cpu),
    }


async def measure(bootstrap: str, count: int) -> list[dict[str, Any]]:
    """Fills a changelog and restores it twice."""
    topic = Topic(
        f"bench.restore.{uuid.uuid4().hex[:8]}", "table/key", CHANGELOG_SCHEMA, "bench", 1, "compact", retention_ms=-1
    )
    await create_topics(bootstrap, [topic])
    log = KafkaLog(Settings(kafka=KafkaSettings(bootstrap=bootstrap)), "bench-restore")
    await log.start()
    changelog = Partition(topic.name, 0)
    tables = [table for table in TABLES if isinstance(table, Changelogged)]
    rows = []
    try:
        err.print(f"writing {count:,} rows")
        await write_rows(log, changelog, account_rows(count), topic.name)
        for label, check in (("copied", None), ("copied and verified", RowCheck(tables, VERIFY, every=False))):
            with tempfile.TemporaryDirectory(prefix="tidemark-restore-") as directory:
                store = RocksStore(Path(directory) / "store")
                result = await copy(log, changelog, store, check)
                began = time.perf_counter()
                store.close()
                closed = time.perf_counter()
                RocksStore(Path(directory) / "store").close()
                opened = time.perf_counter()
            times = {"close s": round(closed - began, 3), "open and close s": round(opened - closed, 3)}
            rows.append({"restore": label, **result, **times})
    finally:
        await log.stop()
    return rows


async def run(options: argparse.Namespace) -> None:
    before = conditions()
    if options.bootstrap:
        rows = await measure(options.bootstrap, options.rows)
    else:
        async with parts("kafka") as where:
            rows = await measure(where.kafka_bootstrap, options.rows)
    show("restore", rows, conditions=before)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench restore", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the changelog (default %(default)s)")
    parser.add_argument("--bootstrap", help="a broker that runs already; otherwise one is started")
    options = parser.parse_args()
    try:
        asyncio.run(run(options))
    except PartsError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
