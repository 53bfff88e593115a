"""The common part of live feeds: how long to wait before a connection that was lost is made again."""

import time
from collections.abc import Iterator
from typing import Final

from common.contracts.ticks import Ticks
from common.feed_ticks import empty_ticks
from common.feeds import LIVE_YIELD_S

RETRY_S: Final = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""By the failures in a row before: connections that brought nothing."""


def waited(seconds: float) -> Iterator[Ticks]:
    """Time passes, and is known to."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(LIVE_YIELD_S, left))
        yield empty_ticks()
