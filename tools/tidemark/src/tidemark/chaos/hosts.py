"""A second test host: a network namespace of this machine, joined to it by a cable that can be slowed and cut."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from parts.processes import launch_command

PREFIX: Final = "tidemark-"
CABLE_TIMEOUT_S: Final = 10.0


def why_no_host() -> str:
    """Why this machine can have no second host; empty where it can."""
    if os.geteuid() != 0:
        return "a network namespace needs root"
    if shutil.which("ip") is None:
        return "there is no `ip` command (iproute2)"
    if not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun"
    return ""


def _ip(*arguments: str) -> str:
    command = ["ip", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=CABLE_TIMEOUT_S).stdout


class SecondHost:
    """A context; where the machine refuses, ``why_not`` says why and the host is not there.

    ``here`` is this machine's address on the cable, ``there`` the host's: a /30 chosen by this process's id.
    """

    def __init__(self) -> None:
        pid = os.getpid()
        network = f"10.213.{pid % 256}"
        block = 4 * (pid // 256 % 64)
        self.here, self.there = f"{network}.{block + 1}", f"{network}.{block + 2}"
        self.namespace = f"{PREFIX}{pid}"
        self._device = f"tm{pid}"
        self.why_not = why_no_host()
        self._cable: asyncio.subprocess.Process | None = None

    def inside(self) -> tuple[str, ...]:
        """Words that are put before a command which is to run on the host."""
        program = shutil.which("ip")
        assert program is not None, "there is no host"
        return (program, "netns", "exec", self.namespace)

    async def __aenter__(self) -> Self:
        if self.why_not:
            return self
        try:
            remove_left_over()
            _ip("netns", "add", self.namespace)
            await self._lay_cable()
        except (subprocess.SubprocessError, OSError, TimeoutError) as error:
            said = getattr(error, "stderr", "") or str(error)
            self.why_not = f"the second host cannot be made: {said.strip()}"
            await self._remove()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._remove()

    async def _lay_cable(self) -> None:
        command = [sys.executable, "-P", "-m", "tidemark.chaos.link", self._device, self.namespace]
        self._cable = await asyncio.create_subprocess_exec(
            *launch_command(command, death_signal=signal.SIGKILL, uid=-1),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert self._cable.stdout is not None
        assert self._cable.stderr is not None
        async with asyncio.timeout(CABLE_TIMEOUT_S):
            if not await self._cable.stdout.readline():
                raise OSError((await self._cable.stderr.read()).decode("utf-8", "replace").splitlines()[-1])
        far = ("-n", self.namespace)
        for where, address, peer, device in (
            ((), self.here, self.there, f"{self._device}-a"),
            (far, self.there, self.here, f"{self._device}-b"),
        ):
            _ip(*where, "addr", "add", address, "peer", peer, "dev", device)
            _ip(*where, "link", "set", device, "mtu", "9000", "up")
        _ip(*far, "link", "set", "lo", "up")

    async def order(self, text: str) -> None:
        """``delay SECONDS``, ``cut``, or ``clear``; returns when it is in force."""
        assert self._cable is not None
        assert self._cable.stdin is not None
        assert self._cable.stdout is not None
        self._cable.stdin.write(f"{text}\n".encode())
        async with asyncio.timeout(CABLE_TIMEOUT_S):
            await self._cable.stdout.readline()

    async def _remove(self) -> None:
        cable, self._cable = self._cable, None
        if cable is not None:
            with contextlib.suppress(ProcessLookupError):
                cable.kill()
            await cable.wait()
        if os.geteuid() == 0 and shutil.which("ip"):
            with contextlib.suppress(subprocess.SubprocessError, OSError):
                _ip("netns", "del", self.namespace)


def remove_left_over() -> None:
    """Removes the namespaces of processes that died without doing so."""
    for line in _ip("netns", "list").splitlines():
        name = line.split()[0] if line.strip() else ""
        pid = name.removeprefix(PREFIX)
        if name.startswith(PREFIX) and pid.isdigit() and not Path(f"/proc/{pid}").exists():
            _ip("netns", "del", name)
