"""``stage.py``, with the time of every step of every commit written to a file. Takes the same arguments, and --steps.

The steps are those between the runtime's own failpoints: nothing in the runtime knows that it is timed.
"""

import argparse
import asyncio
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from streams.commit import transaction
from streams.kafka import producer

from bench.gate import stage

STEPS: Final = {
    "commit.1.begun": "begin",
    "commit.2.applied": "apply",
    "commit.3.changelog-appended": "append",
    "commit.3.acknowledged": "produce",
    "commit.4.committed": "end transaction",
    "commit.5.stored": "store",
}
"""Failpoint → the step that it ends. ``begin`` is the beginning of the clock."""
FLUSH_EVERY_S: Final = 0.5


class StepClock:
    """Milliseconds per step of each commit; commits of several tasks run side by side, each in a task of asyncio."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: dict[int, dict[str, float]] = {}
        self._done: list[dict[str, float]] = []
        self._last: dict[int, float] = {}

    def passing(self, name: str) -> None:
        """In place of the failpoint of that name."""
        step = STEPS.get(name)
        if step is None:
            return
        key, now = id(asyncio.current_task()), time.perf_counter()
        if step == "begin":
            self._open[key] = {"at_s": time.time()}
        elif (commit := self._open.get(key)) is not None:
            commit[step] = (now - self._last[key]) * 1e3
            if step == "store":
                self._done.append(self._open.pop(key))
        self._last[key] = now

    def take(self) -> list[dict[str, float]]:
        """The whole commits since the last call."""
        done, self._done = self._done, []
        return done

    def write_for_ever(self) -> None:
        """Appends what was measured, a JSON line a commit."""
        with self._path.open("a", encoding="ascii") as out:
            while True:
                time.sleep(FLUSH_EVERY_S)
                out.writelines(json.dumps(commit) + "\n" for commit in self.take())
                out.flush()


def install(clock: StepClock) -> None:
    """Lets the commit tell the clock where it is."""
    modules: tuple[Any, ...] = (transaction, producer)
    for module in modules:
        module.passing = clock.passing
    threading.Thread(target=clock.write_for_ever, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--steps", type=Path, required=True)
    own, rest = parser.parse_known_args()
    own.steps.touch()
    install(StepClock(own.steps))
    sys.argv = [sys.argv[0], *rest]
    stage.main()


if __name__ == "__main__":
    main()
