"""Counts what a Python peer handled: the figures of ``java/Meter.java``. Standard library only: peers run alone."""

import json
import os
import threading
import time
from typing import Any

CASH_E4 = 300_000 * 10_000


class GateMeter:
    """Wall clock and CPU time of this process from the first record handled to the last one.

    With ``messages`` 0 nothing is counted. After the last record, or after ``timeout_s``, one JSON line is printed and
    the process ends.
    """

    def __init__(self, messages: int, timeout_s: float) -> None:
        self.messages = messages
        self.half_at = messages // 2
        self.handled = 0
        self.first = self.half = (0.0, 0.0)
        if messages:
            timer = threading.Timer(timeout_s, self._give_up)
            timer.daemon = True
            timer.start()

    @staticmethod
    def now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def hit(self) -> None:
        self.handled += 1
        if self.handled == 1:
            self.first = self.now()
        if self.handled == self.half_at:
            self.half = self.now()
        if self.handled == self.messages:
            self._report()

    def _report(self) -> None:
        end = self.now()

        def part(start: tuple[float, float], count: int) -> dict[str, float]:
            wall, cpu = end[0] - start[0], max(end[1] - start[1], 0.01)
            return {"s": round(wall, 3), "per_s": round(count / wall), "per_cpu_s": round(count / cpu)}

        steady = part(self.half, self.messages - self.half_at)
        self._end({"messages": self.messages, "all": part(self.first, self.messages), "steady": steady}, 0)

    def _give_up(self) -> None:
        self._end({"messages": self.messages, "handled": self.handled}, 1)

    @staticmethod
    def _end(result: dict[str, Any], code: int) -> None:
        os.write(1, (json.dumps(result) + "\n").encode())  # Faust has put a log in the place of sys.stdout
        os._exit(code)  # from within a handler: an orderly end would wait for that very handler
