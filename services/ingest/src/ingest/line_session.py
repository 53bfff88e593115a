"""A session that arrives over UDP, in MoldUDP64."""

import heapq
import socket
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Final

import numpy as np
from common.feed_ticks import TickRows
from streams.edges.source import SourceBatch

from ingest.addresses import endpoint, resolved
from ingest.domain.anomalies import Report
from ingest.domain.framing import packet_block
from ingest.domain.moldudp64 import Line, Run, joined, parse_packet, request_packet, split
from ingest.domain.position import unpack_locates
from ingest.domain.sides import Side
from ingest.domain.strays import Ownership
from ingest.late_join import LateJoin, Snapshot
from ingest.session import MILLISECOND_NS, Session
from ingest.udp import DatagramQueue

LIVE_WITHIN_NS: Final = 2_000 * MILLISECOND_NS
"""A feed whose events are stamped so close to this machine's clock runs on the same time as it."""
QUIET_MARGIN_NS: Final = 1_000 * MILLISECOND_NS
LINE_DEAD_NS: Final = 3_000 * MILLISECOND_NS
"""A sender with nothing to say sends a heartbeat every second (MoldUDP64); three missing are a dead line."""
SIDES: Final = ("A", "B")
HOLD_WAKE_NS: Final = 5 * MILLISECOND_NS


class LineSession:
    """Receives, decodes, and goes on after what was lost. What cannot be had again is counted and reported."""

    def __init__(self, session: Session, *queues: DatagramQueue) -> None:
        """``queues``: of side A, and of B where the line has two; then each is watched by itself."""
        self._session = session
        self._queues = queues
        self._line = _line(session)
        first = self._line.next_sequence
        self.sides = [Side(name, next_sequence=first) for name in SIDES[: len(queues)]] if len(queues) > 1 else []
        self._opened_ns = session.clock.steady_ns()
        self._past_line, self._past_decoder = "", session.decoder
        self._arrived_ns = 0
        self._arrived_steady_ns = 0
        self._live = False
        self._requested = 0
        self._scratch = Report(examples_max=0)
        self._server = _address(session.settings.feed.udp.request, queues[0].family)
        self.late_join: LateJoin | None = None
        """By a server that says how the books stand; None where there is none."""
        if session.settings.feed.udp.glimpse.address:
            self.late_join = LateJoin(session.settings.feed.udp.glimpse, session.report, session.clock.steady_ns)

    def quiet_ns(self) -> int:
        """For how long nothing useful has arrived; 0 once the session is over, which is the sender's last word."""
        if self._session.position.closed or self._line.ended:
            return 0
        since_ns = self._opened_ns if self._line.useful_ns is None else self._line.useful_ns
        return max(0, self._session.clock.steady_ns() - since_ns)

    def side_quiet_ns(self, side: Side) -> int:
        """For how long a side has said nothing of the session; 0 once that is over."""
        if self._session.position.closed or self._line.ended:
            return 0
        since_ns = self._opened_ns if side.heard_ns is None else side.heard_ns
        return max(0, self._session.clock.steady_ns() - since_ns)

    async def batches(self) -> AsyncGenerator[SourceBatch, None]:
        """Batches of what has arrived, without a timer; ends with the sender's end of session."""
        session = self._session
        while not (session.position.closed or self._line.ended):
            if self.late_join and self.late_join.is_due():
                async for batch in self._join(self.late_join):
                    yield batch
            for run in self._receive():
                yield self._decode(run)
            if session.last_event_ns and not session.until_beat_ns():
                yield session.batch(None, self._feed_time_ns())
            self._request_missing()
            wait_ns = session.until_beat_ns() or session.settings.feed.heartbeat_interval_ms * MILLISECOND_NS
            if self._line.missing:
                wait_ns = min(wait_ns, HOLD_WAKE_NS)
            if not self._line.ended:
                await self._queues[0].wait(wait_ns / 1e9)
        if not session.position.closed:
            yield session.close()
        async for batch in session.linger():
            yield batch

    async def _join(self, late_join: LateJoin) -> AsyncGenerator[SourceBatch, None]:
        """The batches before the snapshot, so that no trade of it is missing; the snapshot; what came since."""
        snapshot = await late_join.ask()
        if snapshot is None:
            return
        first, line = snapshot.next_message, self._line
        if line.has_session and line.session != snapshot.session:
            late_join.postpone(f"it is of session {snapshot.session!r}; the line: {line.session!r}")
            return
        if line.next_sequence > first:
            late_join.postpone(f"it ends before message {first}; the line has been read up to {line.next_sequence}")
            return
        runs = self._receive() if line.next_sequence > 1 else []
        parts = [split(run, first) for run in runs + line.join(snapshot.session, first)]
        for before in joined([before for before, _ in parts if before]):
            yield self._decode(before)
        yield self._take_over(snapshot)
        late_join.joined(snapshot)
        for after in joined([after for _, after in parts if after]):
            yield self._decode(after)

    def _take_over(self, snapshot: Snapshot) -> SourceBatch:
        """One batch, whatever its size: books that are half a snapshot's would be wrong for as long as a crash takes.

        Its ticks stand as of the message before the line goes on.
        """
        session = self._session
        rows = TickRows()
        if session.position.line:
            for instrument in unpack_locates(session.decoder.packed_locates()).values():
                rows.clear(session.last_event_ns, 0, instrument)
        ticks = np.concatenate([rows.take(), *map(session.decoder.decode, snapshot.blocks)])
        ticks["sequence"] = snapshot.next_message - 1
        session.report.bytes_read += sum(int(block.lengths.sum()) for block in snapshot.blocks)
        session.position = replace(session.position, line=snapshot.session, sequence=snapshot.next_message)
        return session.batch(ticks)

    def _receive(self) -> list[Run]:
        clock = self._session.clock
        steady_ns = clock.steady_ns()
        runs: list[Run] = []
        arrived = self._arrived()
        if arrived:
            self._arrived_ns, self._arrived_steady_ns = clock.now_ns(), steady_ns
        for place, datagram in arrived:
            runs += self._line.receive(datagram, steady_ns)
            if self.sides:
                self._watch(self.sides[place], datagram, steady_ns)
        return joined(runs + self._line.expire(steady_ns))

    def _arrived(self) -> list[tuple[int, bytes]]:
        """(side, datagram) of what has arrived. Both sides are read in the order of their messages: else so much of one
        would be held for what the other one has that it would be given up.
        """
        taken = [[(side, datagram) for datagram in queue.take()] for side, queue in enumerate(self._queues)]
        if sum(map(bool, taken)) < len(SIDES):
            return [one for side in taken for one in side]
        return list(heapq.merge(*taken, key=lambda one: self._line.place(one[1])))

    def _watch(self, side: Side, datagram: bytes, steady_ns: int) -> None:
        packet = parse_packet(datagram, self._scratch)
        if packet is not None and self._line.belongs(packet):
            side.receive(packet, steady_ns)

    def _decode(self, run: Run) -> SourceBatch:
        session = self._session
        if run.session != session.position.line:
            self._change_decoder(run.session)
        block = packet_block(run.payload, run.count, run.first_sequence)
        ticks = session.decoder.decode(block)
        session.report.bytes_read += len(run.payload)
        session.position = replace(session.position, line=run.session, sequence=run.first_sequence + run.count)
        batch = session.batch(ticks)
        self._live = abs(self._arrived_ns - session.last_event_ns) < LIVE_WITHIN_NS
        return batch

    def _change_decoder(self, line: str) -> None:
        """Locate codes are a session's own. Those of the session before are kept: the line may go back to it."""
        session = self._session
        decoder = self._past_decoder if line == self._past_line else session.new_decoder()
        self._past_line, self._past_decoder = session.position.line, session.decoder
        session.decoder = decoder

    def _feed_time_ns(self) -> int:
        """In a quiet moment of a live line, event time goes on from the last arrival, a margin behind the clock.

        By the steady clock: a wall clock that jumps forwards would close windows whose messages are still to come.
        """
        quiet_ns = self._session.clock.steady_ns() - self._arrived_steady_ns
        return self._arrived_ns + quiet_ns - QUIET_MARGIN_NS if self._live and quiet_ns < LINE_DEAD_NS else 0

    def _request_missing(self) -> None:
        """Asks once for each hole, where there is a server to ask."""
        missing = self._line.missing
        if missing and self._server and missing[0] != self._requested:
            self._requested = missing[0]
            self._queues[0].send(request_packet(self._line.session, *missing), self._server)


def _line(session: Session) -> Line:
    """The line from where the committed position ended, or from the start of the session that the operator names."""
    udp, position = session.settings.feed.udp, session.position
    ownership = Ownership(
        pinned=bool(udp.session),
        agreeing_packets=udp.agreeing_packets,
        silent_ns=udp.silent_ms * MILLISECOND_NS,
        gap_messages_max=udp.gap_max,
    )
    named = udp.session or position.line
    sequence = position.sequence if named == position.line else 1
    return Line(session.report, session=named, next_sequence=sequence, ownership=ownership)


def _address(text: str, family: int = socket.AF_UNSPEC) -> tuple[str, int] | None:
    """The re-request server, for sockets of that family. Raises AddressError."""
    return resolved(*endpoint(text), family)[1] if text else None
