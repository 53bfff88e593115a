"""One child process: its own session and log file, gone when its parent is gone."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from parts.processes import launch_command

KEEP_USER: Final = -1
GROUP_NICE_RETRIES: Final = 20
GROUP_NICE_RETRY_S: Final = 0.1
"""The kernel lets users without privileges change one group in a tenth of a second, all of them together."""


def start_ticks(pid: int) -> int:
    """The kernel's start time of a process in clock ticks since boot; with the pid it names one process for good.

    Source: proc(5), field 22 of ``/proc/<pid>/stat``. Raises ProcessLookupError where there is no such process.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ProcessLookupError(pid) from error
    fields = stat.rpartition(")")[2].split()
    if fields[0] == "Z":
        raise ProcessLookupError(pid)
    return int(fields[19])


def cpu_seconds(pid: int) -> float:
    """User and system time a process has used so far, in seconds (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_running(pid: int, ticks: int) -> bool:
    """Whether the very process that had this pid and start time still runs."""
    try:
        return start_ticks(pid) == ticks
    except ProcessLookupError:
        return False


async def stand_back(pid: int, nice: int) -> None:
    """Gives a process that leads a session of its own less of the processors than others get.

    Its nice value alone would do nothing: Linux shares the processors out between sessions first, and nice only counts
    among the processes of one ("autogroup", sched(7)). Where the kernel has no such groups there is nothing to set.
    """
    with contextlib.suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, pid, nice)
    for _ in range(GROUP_NICE_RETRIES):
        with contextlib.suppress(BlockingIOError):
            _set_group_nice(pid, nice)
            return
        await asyncio.sleep(GROUP_NICE_RETRY_S)


def _set_group_nice(pid: int, nice: int) -> None:
    """Raises BlockingIOError where it is too early to ask again."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        Path(f"/proc/{pid}/autogroup").write_text(str(nice), encoding="ascii")


class Child:
    """A started process. The kernel kills it when the thread that started it ends, so start it from the main thread."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid: int = process.pid
        self.started_s = time.monotonic()

    @classmethod
    async def start(
        cls, argv: Sequence[str], *, env: Mapping[str, str], log: Path, cwd: Path | None = None, nice: int = 0
    ) -> "Child":
        """Starts ``argv`` with exactly ``env``; both output streams are appended to ``log``.

        In a session of its own, so that Ctrl-C in the terminal reaches only us and the stop is in order.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                *launch_command(argv, death_signal=signal.SIGKILL, uid=KEEP_USER),
                env=dict(env),
                cwd=cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        if nice:
            await stand_back(process.pid, nice)
        return cls(process)

    @classmethod
    async def start_detached(cls, argv: Sequence[str], *, log: Path) -> "Child":
        """Starts ``argv`` with our environment, to go on when we are gone."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        return cls(process)

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number where a signal ended it."""
        return self._process.returncode

    @property
    def uptime_s(self) -> float:
        return time.monotonic() - self.started_s

    async def wait(self) -> int:
        """Waits for the end; returns the exit code."""
        return await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Sends a signal; nothing happens where the process has ended."""
        if self._process.returncode is None:
            self._process.send_signal(number)

    async def stop(self, grace_s: float) -> int:
        """SIGTERM, and SIGKILL after ``grace_s`` seconds; returns the exit code."""
        self.send(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self._process.wait(), grace_s)
        except TimeoutError:
            self.send(signal.SIGKILL)
            return await self._process.wait()
