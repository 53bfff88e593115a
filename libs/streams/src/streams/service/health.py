"""The health view: every process says every second how it is, for the strip on the screen."""

import asyncio
import time
from typing import Any

from redis.exceptions import RedisError

from streams.model.message import View
from streams.process.cancellation import end
from streams.process.settings import Settings
from streams.service.operations import Health
from streams.views.protocol import HealthData, view_channel
from streams.views.publisher import encode_envelope
from streams.views.redis_client import redis_client

INTERVAL_S = 1.0
FACT_CHARS_MAX = 64


class HealthReporter:
    """Writes ``HealthData`` to Redis; while Redis is away the screen sees that by itself."""

    def __init__(self, service: str, settings: Settings, health: Health) -> None:
        self._service = service
        self._worker = settings.worker_id
        self._health = health
        self._redis = redis_client(settings.redis.url, "health", socket_connect_timeout=2, socket_timeout=2)
        self._task: asyncio.Task[None] | None = None
        self.extra: dict[str, Any] = {}

    def start(self) -> None:
        self._task = asyncio.create_task(self._report(), name="health")

    async def stop(self) -> None:
        if self._task:
            await end(self._task)
        await self._redis.aclose()

    async def _report(self) -> None:
        epoch, seq = time.time_ns(), 0
        channel = view_channel("health", self._service)
        while True:
            now_ns = time.time_ns()
            ready, report = self._health.report()
            detail = _facts(report["checks"]) | self.extra
            data = HealthData(service=self._service, worker=self._worker, ready=ready, detail=detail, at_ns=now_ns)
            seq += 1
            view = View("health", self._service, self._worker, data, now_ns)
            envelope = encode_envelope(view, epoch, seq, (now_ns, now_ns, now_ns))
            try:
                async with self._redis.pipeline(transaction=False) as pipe:
                    pipe.hset(channel, self._worker, envelope)
                    pipe.publish(channel, envelope)
                    await pipe.execute()
            except (RedisError, OSError):
                seq -= 1
            await asyncio.sleep(INTERVAL_S)


def _facts(checks: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Whether each check is ready, and what its detail says in numbers and short strings, as ``check.name``."""
    facts: dict[str, Any] = {name: check["ready"] for name, check in checks.items()}
    for name, check in checks.items():
        if isinstance(check["detail"], dict):
            said = check["detail"].items()
            facts |= {
                f"{name}.{key}": value
                for key, value in said
                if isinstance(value, int | float) or (isinstance(value, str) and len(value) <= FACT_CHARS_MAX)
            }
    return facts
