"""Gauges of an overloaded fleet: probes, memory, the topic's backlog."""

import asyncio
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Final

from common.contracts.topics import ORDERS_EXECUTIONS, ORDERS_INTENTS, RISK_DECISIONS, VENUE_ORDERS
from streams.kafka.kafka_log import KafkaLog
from streams.model.log import Partition
from tidemark.deployment import Deployment
from tidemark.load.driver import Gateway, GatewayError, Verdict
from tidemark.load.plan import OrderBody
from tidemark.metrics import scrape, total
from tidemark.services import with_stages

SAMPLE_S: Final = 1.0
SCRAPE_TIMEOUT_S: Final = 30.0
"""A process that handles a backlog answers late."""
PATH: Final = (
    ("risk", ORDERS_INTENTS),
    ("orders", RISK_DECISIONS),
    ("orders", VENUE_ORDERS),
    ("orders", ORDERS_EXECUTIONS),
    ("risk", ORDERS_EXECUTIONS),
)
"""Services on an order's way, each with the topic that it reads."""
LOOK_S: Final = 0.5
"""Seconds between two looks at the backlog."""
NORMAL_WINDOWS: Final = 3
"""Seconds in a row that have to be normal before the fleet counts as recovered."""
MIB: Final = 1024 * 1024


class BenchError(Exception):
    """The fleet did not do what the measurement needs."""


@dataclass
class Probes:
    """A gateway that notes for each order when it was meant to be sent, and how long the verdict took."""

    gateway: Gateway
    seen: list[tuple[float, float | None]] = field(default_factory=list)
    """(seconds of ``time.time`` it was due, latency in ms; None without a verdict)."""

    async def submit(self, account: str, client_order_id: str, body: OrderBody, intended_ns: int) -> Verdict:
        """See ``driver.Gateway``."""
        due_s = intended_ns / 1e9
        try:
            verdict = await self.gateway.submit(account, client_order_id, body, intended_ns)
        except GatewayError:
            self.seen.append((due_s, None))
            raise
        self.seen.append((due_s, (time.time() - due_s) * 1e3))
        return verdict

    async def cancel(self, account: str, order_id: str, intended_ns: int) -> None:
        """See ``driver.Gateway``."""
        await self.gateway.cancel(account, order_id, intended_ns)

    def latencies(self) -> list[float]:
        return sorted(latency for _, latency in self.seen if latency is not None)


def normal_after_s(seen: Sequence[tuple[float, float | None]], since_s: float, limit_ms: float) -> float | None:
    """Seconds from ``since_s`` to the first of ``NORMAL_WINDOWS`` seconds in a row whose orders were all answered, half
    of them within ``limit_ms``; None where there were none."""
    windows: dict[int, list[float | None]] = {}
    for due_s, latency in seen:
        if due_s >= since_s:
            windows.setdefault(int(due_s - since_s), []).append(latency)
    good = 0
    for second in range(max(windows, default=-1)):  # the newest window may still be filling
        answers = [inf if latency is None else latency for latency in windows.get(second, [inf])]
        is_normal = max(answers) < inf and statistics.median(answers) <= limit_ms
        good = good + 1 if is_normal else 0
        if good == NORMAL_WINDOWS:
            return float(second + 1 - NORMAL_WINDOWS)
    return None


class Memory:
    """Resident sets of processes over time."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = pids
        self.mib: dict[str, list[float]] = {name: [] for name in pids}

    async def sample(self) -> None:
        """Until cancelled."""
        while True:
            for name, pid in self._pids.items():
                self.mib[name].append(resident_bytes(pid) / MIB)
            await asyncio.sleep(SAMPLE_S)

    def rows(self) -> list[dict[str, Any]]:
        """Per process: at the begin, after each fifth of the time (the most within it), and how the last two differ."""
        rows = []
        for name, values in self.mib.items():
            step = max(1, len(values) // 5)
            fifths = [
                round(max(values[at : at + step]), 1) for at in range(0, 5 * step, step) if values[at : at + step]
            ]
            row = {"process": name, "begin MiB": round(values[0], 1)}
            row |= {f"{number}/5": most for number, most in enumerate(fifths, 1)}
            rows.append(row | {"last fifth": f"{100 * (fifths[-1] / fifths[-2] - 1):+.1f} %" if fifths[1:] else ""})
        return rows


def resident_bytes(pid: int) -> int:
    """VmRSS (proc(5)); 0 for a process that is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:")), 0)


class Backlog:
    """Records in the topics of an order's path that their stages have not handled yet."""

    def __init__(self, deployment: Deployment, log: KafkaLog) -> None:
        names = deployment.fleet.names
        self._urls = {service: deployment.operations_url(with_stages(service, names)) for service, _ in PATH}
        self._log = log
        self.most = 0

    async def handled(self) -> dict[tuple[str, str], int]:
        """(service, topic) → input positions, as committed."""
        pages = await scrape(self._urls, SCRAPE_TIMEOUT_S)
        name = "tidemark_stage_position_records"
        return {
            (service, topic.name): int(total(pages[service], name, app=service, topic=topic.name))
            for service, topic in PATH
        }

    async def decided(self) -> int:
        """Intents whose decision is committed."""
        return (await self.handled())["risk", ORDERS_INTENTS.name]

    async def waiting(self) -> int:
        """Records that wait in the topic that holds most."""
        handled = await self.handled()  # first: what comes meanwhile makes the backlog longer, not negative
        waiting = []
        for service, topic in PATH:
            partitions = [Partition(topic.name, number) for number in range(topic.partitions)]
            ends = [await self._log.high_watermark(partition) for partition in partitions]
            # Each partition may end with the marker of a transaction, which nobody handles.
            waiting.append(sum(ends) - handled[service, topic.name] - topic.partitions)
        self.most = max(self.most, *waiting)
        return max(0, *waiting)

    async def until_empty(self, timeout_s: float) -> None:
        """Raises BenchError."""
        give_up_s = time.monotonic() + timeout_s
        while (waiting := await self.waiting()) > 0:
            if time.monotonic() > give_up_s:
                raise BenchError(f"{waiting} records are still not handled after {timeout_s:g} s")
            await asyncio.sleep(LOOK_S)
