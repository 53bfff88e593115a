"""Ending tasks that call libraries which have been seen to swallow a cancellation.

redis-py waits for the close of a broken connection by the same future that a cancellation cancels; a loop around such a
call then goes on as if nothing had been said, and whoever waits for its end waits for ever.
"""

import asyncio
from typing import Any, Final

AGAIN_S: Final = 1.0


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancels tasks, once more each second, and returns when all have ended. Their errors are dropped."""
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)
