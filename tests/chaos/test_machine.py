"""The harm of a storm to a machine, done to something small: a clock, a disk, a cable."""

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest
from tidemark.chaos.clocks import Clocks
from tidemark.chaos.disks import SmallDisk
from tidemark.chaos.hosts import SecondHost

HOUR_NS = 3_600_000_000_000
CLOCK = """
import sys, time
for _ in sys.stdin:
    print(time.time_ns(), time.monotonic_ns(), flush=True)
"""
CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 20) as connection:
    for line in sys.stdin.buffer:
        connection.sendall(line)
        print(connection.recv(100).decode().strip(), flush=True)
"""


class Asked:
    """A small program that answers every line it is given with a line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, *command: str, **env: str) -> "Asked":
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, env={**os.environ, **env})
        return cls(process)

    async def ask(self, timeout_s: float = 20.0) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"now\n")
        return (await asyncio.wait_for(self.process.stdout.readline(), timeout_s)).decode()

    async def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        await self.process.wait()


async def test_clock_when_shifted_then_one_process_has_another_wall_clock_and_the_same_monotonic_one(
    tmp_path: Path,
) -> None:
    clocks = Clocks(tmp_path)
    clocks.prepare(("risk-1",))
    if clocks.why_not:
        pytest.skip(clocks.why_not)
    asked = await Asked.start(sys.executable, "-c", CLOCK, **clocks.environment(), TIDEMARK_WORKER_ID="risk-1")
    other = await Asked.start(sys.executable, "-c", CLOCK, **clocks.environment(), TIDEMARK_WORKER_ID="risk-2")
    try:
        for offset_ns in (0, HOUR_NS, -HOUR_NS, 0):
            clocks.shift("risk-1", offset_ns)
            wall_before, monotonic_before = time.time_ns(), time.monotonic_ns()
            wall, monotonic = map(int, (await asked.ask()).split())
            wall_other, _ = map(int, (await other.ask()).split())
            assert wall_before <= wall - offset_ns <= time.time_ns()
            assert monotonic_before <= monotonic <= time.monotonic_ns()
            assert wall_before <= wall_other <= time.time_ns()
    finally:
        await asked.end()
        await other.end()


def test_disk_when_filled_then_not_a_byte_fits_until_it_is_freed(tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk") as disk:
        if disk.why_not:
            pytest.skip(disk.why_not)
        (disk.path / "store").write_bytes(b"before")
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (disk.path / "new").write_bytes(b"more")
        assert (disk.path / "store").read_bytes() == b"before"
        disk.free()
        (disk.path / "new").write_bytes(b"more")
    assert not (tmp_path / "disk").is_mount()


async def test_cable_when_slow_or_cut_then_answers_are_late_or_come_after_it_is_mended() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    async with SecondHost() as host:
        if host.why_not:
            pytest.skip(host.why_not)
        server = await asyncio.start_server(echo, host.here, 0)
        port = server.sockets[0].getsockname()[1]
        client = await Asked.start(*host.inside(), sys.executable, "-c", CLIENT, host.here, str(port))
        try:
            assert await client.ask() == "now\n"
            await host.order("delay 0.2")
            began = time.monotonic()
            assert await client.ask() == "now\n"
            assert time.monotonic() - began >= 0.4
            await host.order("cut")
            with pytest.raises(TimeoutError):
                await client.ask(timeout_s=1.0)
            await host.order("clear")
            assert client.process.stdout is not None
            assert await asyncio.wait_for(client.process.stdout.readline(), 20) == b"now\n"
        finally:
            await client.end()
            server.close()
    left = await asyncio.create_subprocess_exec("ip", "netns", "list", stdout=asyncio.subprocess.PIPE)
    assert host.namespace.encode() not in (await left.communicate())[0]
