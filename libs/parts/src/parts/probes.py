"""Readiness by protocol: the smallest honest question to each part, over a plain socket.

No client library and no event loop, so that a stack can be started from synchronous and asynchronous code alike.
"""

import contextlib
import socket
import ssl
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Final

from parts.errors import PartsError

PROBE_TIMEOUT_S: Final = 2.0
PROBE_INTERVAL_S: Final = 0.02
METADATA_API_KEY: Final = 3
SSL_REQUEST: Final = 80_877_103
HOST: Final = "127.0.0.1"

Probe = Callable[[], bool]


def _receive(connection: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        chunk = connection.recv(size - len(received))
        if not chunk:
            raise ConnectionResetError("closed while answering")
        received += chunk
    return bytes(received)


def kafka_brokers(port: int, host: str = HOST) -> int:
    """How many live brokers the broker on this port knows. Raises OSError where none answers.

    Metadata v0 for no topic in particular would list them all, so it names one that does not exist.
    Source: Kafka protocol guide, Metadata request (v4: topics, allow_auto_topic_creation=false).
    """
    client, topic = b"probe", b"tidemark.probe"
    body = struct.pack(">i", 1) + struct.pack(">h", len(topic)) + topic + b"\x00"
    header = struct.pack(">hhih", METADATA_API_KEY, 4, 1, len(client)) + client
    request = header + body
    with socket.create_connection((host, port), PROBE_TIMEOUT_S) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", _receive(connection, 4))
        response = _receive(connection, size)
    (brokers,) = struct.unpack_from(">i", response, 8)  # after correlation id and throttle time
    return int(brokers)


def accepts(port: int, host: str = HOST) -> bool:
    """Whether anybody listens: all that can be seen of a port that speaks TLS to those it knows."""
    with socket.create_connection((host, port), PROBE_TIMEOUT_S):
        return True


def redis_answers(port: int, host: str = HOST, tls: ssl.SSLContext | None = None) -> bool:
    """Whether PING is answered with PONG (a server that is loading its data answers with an error).

    With ``tls``: whether it is answered at all. Who has no name there is only told so.
    """
    with socket.create_connection((host, port), PROBE_TIMEOUT_S) as plain, _by_tls(plain, host, tls) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG" if tls is None else (b"+PONG", b"-NOAUTH"))


@contextlib.contextmanager
def _by_tls(plain: socket.socket, host: str, tls: ssl.SSLContext | None) -> Iterator[socket.socket]:
    if tls is None:
        yield plain
    else:
        with tls.wrap_socket(plain, server_hostname=host) as connection:
            yield connection


def postgres_query(
    port: int, sql: str, *, user: str, database: str, host: str = HOST, tls: ssl.SSLContext | None = None
) -> bool:
    """Runs one statement by the simple query protocol, without a password; whether it succeeded.

    Source: PostgreSQL documentation, Frontend/Backend Protocol, Message Flow.
    """
    startup = struct.pack(">i", 196_608) + f"user\0{user}\0database\0{database}\0\0".encode()
    query = sql.encode() + b"\0"
    with socket.create_connection((host, port), PROBE_TIMEOUT_S) as plain:
        if tls is not None:
            plain.sendall(struct.pack(">ii", 8, SSL_REQUEST))
            if _receive(plain, 1) != b"S":
                return False
        with _by_tls(plain, host, tls) as connection:
            return _queried(connection, startup, query)


def _queried(connection: socket.socket, startup: bytes, query: bytes) -> bool:
    connection.settimeout(30.0)  # a new database is copied before the answer comes
    connection.sendall(struct.pack(">i", len(startup) + 4) + startup)
    if not _until_ready(connection):
        return False
    connection.sendall(b"Q" + struct.pack(">i", len(query) + 4) + query)
    return _until_ready(connection)


def _until_ready(connection: socket.socket) -> bool:
    while True:
        kind, size = struct.unpack(">ci", _receive(connection, 5))
        _receive(connection, size - 4)
        if kind == b"E":
            return False
        if kind == b"Z":
            return True


def listens(port: int, host: str = HOST) -> bool:
    """Whether a connection is accepted. Raises OSError where not."""
    with socket.create_connection((host, port), PROBE_TIMEOUT_S):
        return True


def http_answers(url: str) -> bool:
    """Whether a GET is answered with a success."""
    try:
        with urllib.request.urlopen(url, timeout=PROBE_TIMEOUT_S) as response:
            return 200 <= int(response.status) < 300
    except urllib.error.URLError as error:
        raise ConnectionError(str(error)) from error


def wait_ready(what: str, probe: Probe, *, timeout_s: float, ended: Callable[[], str | None]) -> None:
    """Asks until the part answers.

    ``ended`` returns why the part will never answer, or None. Raises PartsError then, and after ``timeout_s`` seconds.
    """
    deadline_s = time.monotonic() + timeout_s
    last = "no answer yet"
    while True:
        answered = False
        try:
            answered = probe()
        except (OSError, struct.error) as error:
            last = str(error)
        reason = ended()
        if reason is not None:
            raise PartsError(f"{what} ended instead of starting: {reason}")
        if answered:
            return
        if time.monotonic() > deadline_s:
            raise PartsError(f"{what} is not ready after {timeout_s:.0f} s: {last}")
        time.sleep(PROBE_INTERVAL_S)
