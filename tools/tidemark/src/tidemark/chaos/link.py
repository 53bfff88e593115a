"""A cable between this machine and a network namespace, as a process: ``python -m tidemark.chaos.link NAME NAMESPACE``.

Two TUN devices, NAME-a here and NAME-b in the namespace, and packets carried between them. Orders come on standard
input, one per line, until it ends: ``delay SECONDS`` (each way), ``cut`` (packets are dropped), ``clear``. Each is
answered with a line once it is in force. It needs root and /dev/net/tun, and no queueing discipline of the kernel's,
which netem would be and which many kernels lack.
"""

import asyncio
import fcntl
import os
import struct
import subprocess
import sys
from typing import Final

TUNSETIFF: Final = 0x400454CA
IFF_TUN: Final = 0x0001
IFF_NO_PI: Final = 0x1000
MTU: Final = 9_000
PACKETS_AT_ONCE: Final = 64


def open_tun(name: str) -> int:
    """Makes a TUN device that lives as long as the descriptor. Source: Documentation/networking/tuntap.rst (Linux)."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


class Cable:
    """Carries packets both ways, late or not at all."""

    def __init__(self, ends: tuple[int, int]) -> None:
        self._ends = ends
        self._delay_s = 0.0
        self._is_cut = False

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        for source, target in (self._ends, self._ends[::-1]):
            loop.add_reader(source, self._carry, source, target)

    def obey(self, order: str) -> None:
        """One line of input."""
        verb, _, value = order.strip().partition(" ")
        self._is_cut = verb == "cut"
        self._delay_s = float(value) if verb == "delay" else 0.0

    def _carry(self, source: int, target: int) -> None:
        for _ in range(PACKETS_AT_ONCE):
            try:
                packet = os.read(source, MTU + 64)
            except OSError:
                return
            if self._is_cut:
                continue
            if self._delay_s:
                asyncio.get_running_loop().call_later(self._delay_s, self._deliver, target, packet)
            else:
                self._deliver(target, packet)

    @staticmethod
    def _deliver(target: int, packet: bytes) -> None:
        try:
            os.write(target, packet)
        except OSError:
            return  # a full device drops packets; so do wires


def lay(name: str, namespace: str) -> tuple[int, int]:
    """Makes both ends and puts the far one into the namespace."""
    ends = (open_tun(f"{name}-a"), open_tun(f"{name}-b"))
    subprocess.run(["ip", "link", "set", f"{name}-b", "netns", namespace], check=True)
    return ends


async def main(ends: tuple[int, int]) -> None:
    """Carries packets and says so on standard output; returns when the input ends."""
    cable = Cable(ends)
    cable.start()
    print("laid", flush=True)
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        cable.obey(line.decode())
        print("obeyed", flush=True)


if __name__ == "__main__":
    asyncio.run(main(lay(sys.argv[1], sys.argv[2])))
