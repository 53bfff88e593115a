"""UDP sockets: receiving a MoldUDP64 line, unicast or multicast."""

import asyncio
import contextlib
import socket
import struct
from collections import deque
from typing import Any


class DatagramQueue(asyncio.DatagramProtocol):
    """Datagrams that have arrived. When the queue is full the newest is dropped and counted: the line sees a gap."""

    def __init__(self, datagrams_max: int) -> None:
        self.dropped = 0
        self.last_arrival_ns = 0
        self._datagrams_max = datagrams_max
        self._waiting: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, _address: Any) -> None:
        if len(self._waiting) >= self._datagrams_max:
            self.dropped += 1
        else:
            self._waiting.append(data)
            self._arrived.set()

    def error_received(self, _error: Exception) -> None:
        """An ICMP error of something sent: a re-request server that is away. The gap is reported by the line."""

    async def wait(self, timeout_s: float) -> None:
        """Returns when something has arrived, or after the time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._arrived.wait(), timeout_s)

    def take(self) -> list[bytes]:
        """Everything that has arrived."""
        taken = list(self._waiting)
        self._waiting.clear()
        self._arrived.clear()
        return taken

    def send(self, datagram: bytes, address: tuple[str, int]) -> None:
        """From the receiving socket, so that the answer comes to it."""
        if self._transport is not None:
            self._transport.sendto(datagram, address)

    @property
    def port(self) -> int:
        """The port bound; 0 before."""
        return int(self._transport.get_extra_info("sockname")[1]) if self._transport else 0

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def open_line(host: str, port: int, *, group: str, datagrams_max: int, buffer_bytes: int) -> DatagramQueue:
    """Binds ``host``:``port``; with ``group`` joins it on the interface that has the address ``host``.

    Raises OSError where the address is not this machine's or the group cannot be joined.
    """
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        receiver.setblocking(False)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        if group:
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            receiver.bind((group, port))
            membership = struct.pack("=4s4s", socket.inet_aton(group), socket.inet_aton(host))
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        else:
            receiver.bind((host, port))
    except OSError:
        receiver.close()
        raise
    loop = asyncio.get_running_loop()
    _, queue = await loop.create_datagram_endpoint(lambda: DatagramQueue(datagrams_max), sock=receiver)
    return queue
