"""How far an opening task is: at any time for the ready page, and every second for the log."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from streams.process.logs import get_logger

_log = get_logger(__name__)
TELL_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` and ``of`` count offsets: markers and what compaction took are among them. ``rows`` were copied."""

    state: str = "opening"
    done: int = 0
    of: int = 0
    rows: int = 0
    rows_per_s: int = 0
    reason: str = ""
    """Why the partition is refused."""

    def page(self) -> dict[str, Any]:
        """For the ready page. ``remaining`` is in offsets, so no more rows than that are left."""
        if self.reason:
            return {"state": self.state, "reason": self.reason}
        return {
            "state": self.state,
            "done": self.done,
            "of": self.of,
            "remaining": self.of - self.done,
            "rows": self.rows,
            "rows_per_s": self.rows_per_s,
        }


class Meter:
    """Called with what is being done, how many offsets of how many are done, and how many rows that were so far."""

    def __init__(
        self,
        stage: str,
        partition: int,
        show: Callable[[Progress], None],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._where = {"stage": stage, "partition": partition}
        self._show = show
        self._clock_s = clock_s
        self._began_s = self._told_s = clock_s()

    def __call__(self, state: str, done: int, of: int, rows: int) -> None:
        now_s = self._clock_s()
        elapsed_s = now_s - self._began_s
        progress = Progress(state, done, of, rows, round(rows / elapsed_s) if elapsed_s > 0 else 0)
        self._show(progress)
        if now_s - self._told_s >= TELL_EVERY_S:
            self._told_s = now_s
            _log.info("task_progress", **self._where, **progress.page())
