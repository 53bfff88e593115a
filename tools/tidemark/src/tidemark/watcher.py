"""A client of push that reads everything it subscribed to, as a screen would: while it is there the clocks run."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tidemark.load.latency import NO_SAMPLES, ClockSummary

ACCOUNTS_MAX: Final = 120
"""A client may have 200 topics; more than this many accounts add nothing to a percentile."""
RECONNECT_S: Final = 1.0
CLOCKS: Final = ("processed", "committed", "painted")


@dataclass(frozen=True, slots=True)
class PathClocks:
    """The three clocks of one path, from the intended send time of an order or the ingest time of a tick."""

    processed: ClockSummary = NO_SAMPLES
    committed: ClockSummary = NO_SAMPLES
    painted: ClockSummary = NO_SAMPLES

    def as_dict(self) -> dict[str, dict[str, float | int | None]]:
        return {name: getattr(self, name).as_dict() for name in CLOCKS}


def path_clocks(report: dict[str, Any], path: str) -> PathClocks:
    """One path of push's ``/v1/latency``; without samples where it is not there."""
    found = report.get(path, {})
    summaries = {
        clock: ClockSummary(round(found[clock]["p50_ms"], 3), round(found[clock]["p99_ms"], 3), int(found[clock]["n"]))
        for clock in CLOCKS
        if found.get(clock, {}).get("n")
    }
    return PathClocks(**summaries)


def bearer(credential: str) -> dict[str, str]:
    """The header that carries a token or key; none where there is none."""
    return {"Authorization": f"Bearer {credential}"} if credential else {}


async def latency(push_url: str, window: str, credential: str = "") -> dict[str, Any]:
    """Latencies that push measured, ``total`` or ``recent``; empty where it does not answer."""
    try:
        async with httpx.AsyncClient(timeout=5.0, headers=bearer(credential)) as client:
            answer = await client.get(f"{push_url}/v1/latency", params={"window": window})
            report: dict[str, Any] = answer.json() if answer.status_code == httpx.codes.OK else {}
    except (httpx.HTTPError, ValueError):
        return {}
    return report


class Watcher:
    """Stays connected while the context is open, and comes back with another credential when one has ended."""

    def __init__(self, push_url: str, accounts: Sequence[str], credential: Callable[[], str] = lambda: "") -> None:
        self._credential = credential
        self._url = push_url.replace("http://", "ws://") + "/ws"
        self._topics = ["quote", *(f"order:{account}" for account in accounts[:ACCOUNTS_MAX])]
        self._watching: asyncio.Task[None] | None = None
        self.messages = 0

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch(), name="watcher")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(WebSocketException, OSError, TimeoutError):
                headers = bearer(self._credential())
                async with connect(self._url, compression=None, max_size=None, additional_headers=headers) as socket:
                    await socket.send(json.dumps({"op": "subscribe", "topics": self._topics}))
                    async for _ in socket:
                        self.messages += 1
            await asyncio.sleep(RECONNECT_S)
