"""Shared by the end-to-end benchmarks: CPU time of processes, the conditions of a run, and how results are printed."""

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from tidemark.deployment import Deployment
from tidemark.process import cpu_seconds


@dataclass(slots=True)
class CpuMeter:
    """User and system time that processes used between ``start`` and ``read``, from ``/proc/<pid>/stat``."""

    pids: Mapping[str, int]
    _began: dict[str, float] = field(default_factory=dict)
    _began_s: float = 0.0

    def start(self) -> None:
        self._began = {name: cpu_seconds(pid) for name, pid in self.pids.items()}
        self._began_s = time.monotonic()

    def read(self) -> dict[str, float]:
        """Name → CPU seconds since ``start``."""
        return {name: cpu_seconds(pid) - self._began[name] for name, pid in self.pids.items()}

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
