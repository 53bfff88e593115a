"""A task that swallows its cancellation ends all the same."""

import asyncio
import contextlib

from streams.process.cancellation import end


async def test_end_when_a_task_swallows_the_first_cancellation_then_it_is_told_again() -> None:
    told = 0

    async def deaf() -> None:
        nonlocal told
        while told < 2:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                told += 1
        await asyncio.sleep(3600)

    async def broken() -> None:
        raise RuntimeError("ended before")

    tasks = asyncio.create_task(deaf()), asyncio.create_task(broken())
    await asyncio.sleep(0)
    await end(*tasks)
    assert tasks[0].cancelled()
    assert told == 2
    with contextlib.suppress(RuntimeError):
        tasks[1].result()
