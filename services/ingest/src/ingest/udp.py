"""UDP sockets: receiving a MoldUDP64 line, unicast or multicast."""

import asyncio
import contextlib
import ipaddress
import socket
import struct
from collections import deque
from typing import Final

from ingest.addresses import AddressError, endpoint, interface, multicast_group, resolved

AT_ONCE_MAX: Final = 4_096
"""Datagrams that are taken from the socket before anything else may run."""
DATAGRAM_MAX: Final = 65_535


class DatagramQueue:
    """Datagrams that have arrived. When the queue is full the newest is dropped and counted: the line sees a gap.

    The socket is emptied whenever it can be read, not one datagram at a time: a storm of them would else fill the
    kernel's buffer, which is the same for good and bad.
    """

    def __init__(self, receiver: socket.socket, datagrams_max: int, arrived: asyncio.Event | None = None) -> None:
        """``arrived``: shared by the queues of which any is waited for."""
        self.dropped = 0
        self.arrived = arrived or asyncio.Event()
        self._datagrams_max = datagrams_max
        self._waiting: deque[bytes] = deque()
        self._socket: socket.socket | None = receiver

    @property
    def family(self) -> int:
        """Family of the socket's addresses."""
        return self._socket.family if self._socket else socket.AF_INET

    def readable(self) -> None:
        """Takes what the socket has."""
        if self._socket is None:
            return
        receive, waiting = self._socket.recv, self._waiting
        for _ in range(AT_ONCE_MAX):
            try:
                datagram = receive(DATAGRAM_MAX)
            except BlockingIOError:
                break
            except OSError:
                continue  # the ICMP error of a re-request: its server is away. The line reports the gap
            if len(waiting) >= self._datagrams_max:
                self.dropped += 1
            else:
                waiting.append(datagram)
        if waiting:
            self.arrived.set()

    async def wait(self, timeout_s: float) -> None:
        """Returns when something has arrived, or after the time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.arrived.wait(), timeout_s)

    def take(self) -> list[bytes]:
        """Everything that has arrived."""
        taken = list(self._waiting)
        self._waiting.clear()
        self.arrived.clear()
        return taken

    def send(self, datagram: bytes, address: tuple[str, int]) -> None:
        """From the receiving socket, so that the answer comes to it. What cannot be sent now is lost."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(datagram, address)

    @property
    def port(self) -> int:
        """The port bound; 0 once it is closed."""
        return int(self._socket.getsockname()[1]) if self._socket else 0

    def close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None


async def open_line(
    host: str, port: int, *, group: str, datagrams_max: int, buffer_bytes: int, arrived: asyncio.Event | None = None
) -> DatagramQueue:
    """Binds ``host``:``port``; with ``group`` joins it on the interface ``host``, by its name or one of its addresses.

    Raises AddressError where an address cannot be meant so, OSError where it is not this machine's or the group cannot
    be joined.
    """
    receiver = _joined(host, port, group) if group else _bound(host, port)
    try:
        receiver.setblocking(False)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        queue = DatagramQueue(receiver, datagrams_max, arrived)
    except OSError:
        receiver.close()
        raise
    asyncio.get_running_loop().add_reader(receiver, queue.readable)
    return queue


def _bound(host: str, port: int) -> socket.socket:
    family, address = resolved(host, port)
    receiver = socket.socket(family, socket.SOCK_DGRAM)
    try:
        receiver.bind(address)
    except OSError as error:
        receiver.close()
        raise OSError(error.errno, f"{host!r}, port {port}: {error.strerror}") from error
    return receiver


def _joined(host: str, port: int, group: str) -> socket.socket:
    """A socket that receives a multicast group."""
    wanted, where = multicast_group(group), interface(host)
    family = socket.AF_INET if wanted.version == 4 else socket.AF_INET6
    if where.address and ipaddress.ip_address(where.address).version != wanted.version:
        raise AddressError(f"the group {group} cannot be joined on {host}: one is IPv4, the other IPv6")
    receiver = socket.socket(family, socket.SOCK_DGRAM)
    try:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        receiver.bind((str(wanted), port))
        if family == socket.AF_INET:
            address = socket.inet_aton(where.address or "0.0.0.0")
            membership = struct.pack("=4s4si", wanted.packed, address, where.index)
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        else:
            membership = struct.pack("=16si", wanted.packed, where.index)
            receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
    except OSError as error:
        receiver.close()
        raise OSError(error.errno, f"the group {group} cannot be joined on {host!r}: {error.strerror}") from error
    return receiver


def side_of(place: str, host: str) -> tuple[str, int, str]:
    """(host, port, group) of ``place``, ``host:port`` of this machine or ``group:port``, which is joined on ``host``.

    Raises AddressError.
    """
    where, port = endpoint(place)
    try:
        is_group = ipaddress.ip_address(where).is_multicast
    except ValueError:
        is_group = False
    return (host, port, where) if is_group else (where, port, "")
