"""Timers of uvloop, which push runs on, come up to a millisecond early: whoever then finds that it is not yet time
has to wait once more.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from common.testing.views import ViewWriter

EARLY_S = 0.03


@pytest.fixture
async def early_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    call_at = loop.call_at

    def call_early(when: float, *arguments: Any, **options: Any) -> asyncio.TimerHandle:
        return call_at(when - EARLY_S, *arguments, **options)

    monkeypatch.setattr(loop, "call_at", call_early)  # ``call_later`` and ``sleep`` go through it


async def test_search_for_hashes_that_comes_early_then_it_is_made_in_time(
    start_push: Callable[..., Any], writer: ViewWriter, early_timers: None
) -> None:
    push = await start_push(relist_interval_s=0.3)
    await push.until_redis(True)
    await writer.write("quote", "0", {"AAPL": {"last_e4": 1}})
    client = await push.client()
    await client.subscribe("quote")
    await client.until(lambda: client.rows.get("quote") == {"AAPL": {"last_e4": 1}})
    service = push.process.service
    for _ in range(2):  # of two partitions that were written anew one after the other
        service.feed.perform(service.hub.doubt(["quote"]))
        await asyncio.sleep(0.01)
    await writer.write("quote", "0", {"AAPL": {"last_e4": 2}})
    await client.until(lambda: client.rows["quote"] == {"AAPL": {"last_e4": 2}}, timeout_s=3)
    assert service.hub.behind == 0


async def test_frame_whose_time_comes_early_then_it_waits_for_nothing_else(
    start_push: Callable[..., Any], writer: ViewWriter, early_timers: None
) -> None:
    push = await start_push(status_interval_s=60)  # each status wakes the writer of a client, too
    await push.until_redis(True)
    client = await push.client()
    await client.subscribe("order:A1")
    await client.until(lambda: "order:A1" in client.rows)

    def shows(revision: int) -> bool:
        return bool(client.rows["order:A1"].get("A1.1") == {"revision": revision})

    for revision in range(1, 9):
        began_s = time.monotonic()
        await writer.write("order", "A1", {"A1.1": {"revision": revision}})
        await client.until(partial(shows, revision), timeout_s=3)
        assert time.monotonic() - began_s < 1
