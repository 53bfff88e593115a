"""Processes of native parts: own session, own log file, gone when this process is gone."""

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Final

from parts.errors import PartsError

LAUNCH: Final = Path(__file__).with_name("launch.py")
LOG_TAIL_BYTES_MAX: Final = 4_096
KILL_WAIT_S: Final = 30.0


@cache
def _spawner() -> ThreadPoolExecutor:
    # The kernel ties a child to the THREAD that started it. This one lives as long as the process does, whereas the
    # caller may be a short-lived worker thread.
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="parts")


def unprivileged_uid() -> int:
    """The user for programs that refuse root; -1 where this process is not root."""
    return pwd.getpwnam("nobody").pw_uid if os.getuid() == 0 else -1


def launch_command(command: Sequence[str], *, death_signal: int, uid: int) -> list[str]:
    """The command that starts ``command`` through the shim."""
    return [sys.executable, "-I", "-S", str(LAUNCH), str(os.getpid()), str(death_signal), str(uid), *command]


def log_tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error message; empty where there is no log."""
    if not path.exists():
        return ""
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES_MAX))
        return "\n".join(log.read().decode("utf-8", "replace").splitlines()[-lines:])


def run_once(command: Sequence[str], *, log: Path, uid: int = -1, env: Mapping[str, str] | None = None) -> None:
    """Runs a program to its end. Raises PartsError with the end of its log when it fails."""
    process = Process(command, log=log, uid=uid, env=env)
    if process.wait() != 0:
        raise PartsError(f"{command[0]} failed:\n{log_tail(log)}")


class Process:
    """One started program."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        death_signal: signal.Signals = signal.SIGKILL,
        uid: int = -1,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        self._death_signal = death_signal
        argv = launch_command(command, death_signal=death_signal, uid=uid)
        self._popen = _spawner().submit(self._spawn, argv, {**os.environ, **(env or {})}).result()

    def _spawn(self, argv: Sequence[str], env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as out:
            # A session of its own: Ctrl-C in the terminal reaches only us, and the stop is in order.
            return subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, env=env, cwd="/"
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number where a signal ended it."""
        return self._popen.poll()

    def wait(self) -> int:
        """Waits for the end; returns the exit code."""
        return self._popen.wait()

    def kill(self) -> None:
        """SIGKILL, and waits until the process is gone."""
        self._popen.kill()
        self._popen.wait(KILL_WAIT_S)

    def stop(self, *, by: signal.Signals = signal.SIGTERM, grace_s: float) -> bool:
        """Asks with a signal, and after ``grace_s`` seconds does not ask any more; whether asking was enough."""
        for number in (by, self._death_signal):
            if self._popen.poll() is not None:
                return False
            self._popen.send_signal(number)
            try:
                self._popen.wait(grace_s)
            except subprocess.TimeoutExpired:
                continue
            return number == by
        self.kill()
        return False
