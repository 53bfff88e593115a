"""Shared by the end-to-end benchmarks: CPU time of processes, the conditions of a run, and how results are printed."""

import json
import os
import platform
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tidemark.deployment import Deployment


def cpu_with_children() -> dict[int, float]:
    """Process → user and system time in seconds: its own, of children that it has waited for, and of those that live.

    PostgreSQL works in a process for each connection, and Redis saves in one of its own. Source: proc(5), fields 4 and
    14 to 17 of ``/proc/<pid>/stat``, of every process that can be seen.
    """
    ticks: dict[int, int] = {}
    children: defaultdict[int, list[int]] = defaultdict(list)
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        pid = int(file.parent.name)
        ticks[pid] = sum(map(int, fields[11:15]))
        children[int(fields[1])].append(pid)

    def used(pid: int) -> int:
        return ticks[pid] + sum(map(used, children[pid]))

    return {pid: used(pid) / os.sysconf("SC_CLK_TCK") for pid in ticks}


@dataclass(slots=True)
class CpuMeter:
    """User and system time that processes and their children used between ``start`` and ``read``.

    Of this process, whose children the fleet and the parts are, its own.
    """

    pids: Mapping[str, int]
    _began: dict[str, float] = field(default_factory=dict)
    _began_s: float = 0.0

    def start(self) -> None:
        self._began = self._used()
        self._began_s = time.monotonic()

    def read(self) -> dict[str, float]:
        """Name → CPU seconds since ``start``. Raises KeyError where a process has ended."""
        return {name: used - self._began[name] for name, used in self._used().items()}

    def _used(self) -> dict[str, float]:
        found = cpu_with_children() | {os.getpid(): time.process_time()}
        return {name: found[pid] for name, pid in self.pids.items()}

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began_s


def meter_of(deployment: Deployment) -> CpuMeter:
    """A meter over every service and part of a deployment, and this process."""
    pids = {name: deployment.fleet.pid(name) for name in deployment.fleet.names}
    if deployment.stack is not None:
        pids |= {name: deployment.stack.pid(name) for name in ("kafka", "redis", "postgres")}
    return CpuMeter(pids | {"bench": os.getpid()})


def conditions() -> dict[str, Any]:
    """The machine, and how busy it was with other things."""
    return {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def show(name: str, rows: Sequence[Mapping[str, Any]], **more: Any) -> None:
    """A table for people, then one JSON line for machines."""
    table = Table(*rows[0].keys(), title=name)
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int | float) else str(value) for value in row.values()))
    Console(width=160).print(table)
    print(json.dumps({"bench": name, "rows": list(rows), **more}), flush=True)
