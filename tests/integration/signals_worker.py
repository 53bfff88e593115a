"""A worker of the signals service as a process, which tests kill."""

import asyncio
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx
from parts import LocalStack
from parts.ports import free_port
from parts.processes import Process

DEADLINE_S = 120


class Worker:
    """``python -m signals worker``, with small batches. ``environment``: more of its settings."""

    def __init__(self, parts: LocalStack, directory: Path, environment: Mapping[str, str]) -> None:
        self._port = free_port()
        self._log = directory / "worker.log"
        self._env = {
            "TIDEMARK_KAFKA_BOOTSTRAP": parts.addresses.kafka_bootstrap,
            "TIDEMARK_REDIS_URL": parts.addresses.redis_url,
            "TIDEMARK_DATA_DIR": str(directory / "data"),
            "TIDEMARK_HTTP_PORT": str(self._port),
            "TIDEMARK_WORKER_ID": "signals-1",
            "TIDEMARK_SESSION_TIMEOUT_MS": "6000",
            "TIDEMARK_RESTART_BACKOFF_MIN_S": "0.2",
            "TIDEMARK_BATCH_MESSAGES_MAX": "7",
            **environment,
        }
        self._process: Process | None = None

    async def start(self) -> None:
        command = [sys.executable, "-m", "signals", "worker", "--without-web"]
        self._process = await asyncio.to_thread(Process, command, log=self._log, env=self._env)
        async with httpx.AsyncClient() as client, asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    if (await client.get(f"http://127.0.0.1:{self._port}/health/ready")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.1)

    async def stop(self, by: signal.Signals) -> None:
        if self._process:
            await asyncio.to_thread(self._process.stop, by=by, grace_s=20)
            self._process = None

    def log(self) -> str:
        return self._log.read_text()[-4_000:]
