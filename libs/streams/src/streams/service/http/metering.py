"""How much of the event loop's time an awaitable takes."""

import time
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any


@coroutine
def metered(work: Coroutine[Any, Any, None], used: Callable[[float], None]) -> Generator[Any, Any, None]:
    """Runs ``work`` and calls ``used`` with the CPU seconds of each of its steps; waits between them cost nothing."""
    resume: Callable[[Any], Any] = work.send
    value: Any = None
    while True:
        began_s = time.thread_time()
        try:
            awaited = resume(value)
        except StopIteration:
            return
        finally:
            used(time.thread_time() - began_s)
        try:
            value = yield awaited
            resume = work.send
        except BaseException as error:
            value, resume = error, work.throw
