"""Virtual time: an event loop whose clock jumps to the next timer instead of waiting for it."""

import asyncio
import contextlib
import inspect
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stuck(Exception):
    """Nothing is left that could ever happen."""


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits: what it would have waited is added to the loop's clock."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise Stuck("no timer, nothing ready: the simulated world has stopped")
        self.loop.now_s += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Callbacks run in the order they became ready, timers in the order of their time: one seed, one history."""

    def __init__(self) -> None:
        selector = _JumpingSelector()
        selector.loop = self
        self.now_s = 1_000_000.0
        super().__init__(selector)

    def time(self) -> float:
        return self.now_s

    def close(self) -> None:
        """In a world that is stuck even while all are cancelled, those who are left are ended before the loop is."""
        for task in asyncio.all_tasks(self):
            coroutine = task.get_coro()
            while inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) != inspect.CORO_CLOSED:
                with contextlib.suppress(RuntimeError):  # it waits once more; each time at a place further out
                    coroutine.close()
        super().close()


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
