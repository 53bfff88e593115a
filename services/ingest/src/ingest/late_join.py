"""A line that is joined late: a GLIMPSE server says where its books stand, and from which message on the line counts.

Asked for when ingest opens the line (what went by while it was down is not on it any more), and after messages were
lost for good. The snapshot is read as a whole before anything of it is used: one that breaks off leaves no trace.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from streams.process.backoff import Backoff
from streams.process.logs import get_logger

from ingest import metrics
from ingest.addresses import endpoint
from ingest.domain.anomalies import AnomalyKind, Report
from ingest.domain.framing import Block
from ingest.domain.glimpse import SnapshotStream
from ingest.domain.soupbintcp import HEARTBEAT, LOGOUT, SoupError, login_request
from ingest.settings import GlimpseSettings

_log = get_logger(__name__)
RECEIVE_BYTES: Final = 1 << 18
HEARTBEAT_S: Final = 1.0
RETRY_S: Final = (1.0, 30.0)
"""Wait after a first failure, and at most."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``blocks``: messages that make the books of ``session`` as they are before its message ``next_message``."""

    session: str
    next_message: int
    blocks: Sequence[Block]


class SnapshotUnavailable(Exception):
    """The server gave none; it says why."""


async def ask_snapshot(address: str, username: str, password: str, timeout_s: float) -> Snapshot:
    """Logs in at ``host:port`` and reads up to the snapshot's end. Raises SnapshotUnavailable, also after the time."""
    host, port = endpoint(address)
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(login_request(username, password))
                snapshot = await _read(reader, writer)
                writer.write(LOGOUT)
            finally:
                writer.close()
    except TimeoutError as error:
        raise SnapshotUnavailable(f"no whole snapshot within {timeout_s:g} s") from error
    except SoupError as error:
        raise SnapshotUnavailable(f"{error}, at byte {error.offset}") from error
    except OSError as error:
        raise SnapshotUnavailable(error.strerror or str(error)) from error
    return snapshot


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Snapshot:
    clock_s = asyncio.get_running_loop().time
    stream, blocks, said_s = SnapshotStream(), list[Block](), clock_s()
    while not stream.next_message:
        if clock_s() - said_s >= HEARTBEAT_S:
            writer.write(HEARTBEAT)
            said_s = clock_s()
        try:
            chunk = await asyncio.wait_for(reader.read(RECEIVE_BYTES), HEARTBEAT_S)
        except TimeoutError:
            continue
        if not chunk:
            raise SnapshotUnavailable(f"the connection ended before the snapshot did, at byte {stream.offset}")
        blocks += stream.feed(chunk)
    return Snapshot(stream.session, stream.next_message, blocks)


class LateJoin:
    """Whether a line wants a snapshot, and when it may be asked for again."""

    def __init__(self, server: GlimpseSettings, report: Report, steady_ns: Callable[[], int]) -> None:
        self._steady_ns = steady_ns
        self._server = server
        self._report = report
        self._wanted = True
        self._lost = 0
        self._again_ns = 0
        self._backoff = Backoff(*RETRY_S)
        self._said = ""

    def is_due(self) -> bool:
        """Whether to ask now: there is reason to, and the last failure is long enough ago."""
        lost = self._report.counts[AnomalyKind.SEQUENCE_GAP]
        self._wanted, self._lost = self._wanted or lost > self._lost, lost
        return self._wanted and self._steady_ns() >= self._again_ns

    async def ask(self) -> Snapshot | None:
        """The snapshot; None where there is none now."""
        server = self._server
        try:
            return await ask_snapshot(server.address, server.user, server.password.get_secret_value(), server.timeout_s)
        except SnapshotUnavailable as error:
            self.postpone(str(error))
            return None

    def postpone(self, reason: str) -> None:
        """There was none, or none that can be used."""
        delay_s = self._backoff.next()
        self._again_ns = self._steady_ns() + int(delay_s * 1e9)
        self._said = f"none from {self._server.address}: {reason}"
        metrics.SNAPSHOTS.labels("failed").inc()
        _log.warning("snapshot_failed", server=self._server.address, reason=reason, again_in_s=delay_s)

    def joined(self, snapshot: Snapshot) -> None:
        """The line goes on from it; gaps that its joining counted ask for no other."""
        self._wanted, self._lost = False, self._report.counts[AnomalyKind.SEQUENCE_GAP]
        self._backoff.reset()
        self._said = f"joined before message {snapshot.next_message}"
        metrics.SNAPSHOTS.labels("joined").inc()
        messages = sum(map(len, snapshot.blocks))
        _log.info("snapshot_joined", session=snapshot.session, message=snapshot.next_message, messages=messages)

    def said(self) -> dict[str, Any]:
        """For health."""
        return {"wanted": self._wanted, "last": self._said}
