"""One browser: what it says goes to the hub, what the hub has for it goes out, at most so many frames a second.

Two tasks, one that reads and one that writes; whichever ends first ends the connection. The writer alone sends, so a
client that does not read holds up nobody but itself.
"""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Any, Final, Protocol

from common.access.http import Me, Refusal
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind
from starlette.websockets import WebSocket, WebSocketDisconnect
from streams.process.logs import get_logger
from streams.process.telemetry import context_of, is_sampled

from push import codec, metrics
from push.domain.commands import (
    Authenticate,
    CommandError,
    Painted,
    PaintedSample,
    Ping,
    Resync,
    Subscribe,
    Unsubscribe,
    parse_command,
)
from push.domain.hub import Action, Hub
from push.domain.outbox import Change, Outbox
from push.domain.paints import Paint, Paints
from push.domain.rows import Row
from push.domain.shares import Share, TokenBucket
from push.domain.topic import Topic, TopicError
from push.latency import Latency
from push.settings import PushSettings
from push.visitor import Visitor
from push.websocket import dropper

_log = get_logger(__name__)
_tracer = trace.get_tracer("tidemark")
TRY_AGAIN_LATER: Final = 1013
POLICY_VIOLATION: Final = 1008
UNAUTHENTICATED: Final = 4401
"""Close code of our own, as 401 is HTTP's: whoever comes back needs another credential."""
NO_RIGHT: Final = "no right to this topic"
"""The same words whether or not there is such an account."""
ANSWERS_MAX: Final = 64
"""Pongs and errors that wait for a client at most; the oldest are dropped."""
SNAPSHOT_COST_ROWS: Final = 10
"""Cost of a snapshot besides its rows, in rows."""
_ids = itertools.count(1)


class Performer(Protocol):
    """Does at Redis what the hub wants."""

    def perform(self, actions: Sequence[Action]) -> None: ...


class Dropped(Exception):
    """The client is to be dropped. ``cause`` goes to the metrics, ``code`` to the client."""

    def __init__(self, cause: str, code: int) -> None:
        super().__init__(cause)
        self.cause = cause
        self.code = code


class Connection:
    """Accepts one WebSocket, and serves it until it ends. ``share`` is that of its address."""

    def __init__(
        self,
        socket: WebSocket,
        settings: PushSettings,
        hub: Hub,
        feed: Performer,
        latency: Latency,
        share: Share,
        visitor: Visitor,
    ) -> None:
        self._socket = socket
        self._visitor = visitor
        self._settings = settings
        self._hub = hub
        self._feed = feed
        self._latency = latency
        self.share = share
        self.id = next(_ids)
        self._session = time.time_ns() // 1_000
        self._awake = asyncio.Event()
        self._answers: deque[bytes] = deque(maxlen=ANSWERS_MAX)
        self._outbox = Outbox(settings.queue_rows_max, settings.client_rows_max, self._awake.set)
        now_s = time.monotonic()
        self._commands = TokenBucket(settings.commands.per_s_max, settings.commands.burst_max, now_s)
        self._asked = TokenBucket(settings.subscriptions.per_s_max, settings.subscriptions.burst_max, now_s)
        self._idle_since_s = now_s
        self._paints = Paints()
        self._ends = asyncio.Event()
        self._ending = Dropped("made room for another", TRY_AGAIN_LATER)
        self._status: bytes | None = None
        self._timer_runs = False

    @property
    def is_idle(self) -> bool:
        """Whether it listens to nothing."""
        return not self._outbox.topics

    def give_way(self) -> None:
        """Ends it: it is idle, and another one has come."""
        self._ends.set()

    def end_if_revoked(self) -> None:
        """Ends it where the identity behind it has ended, or was revoked."""
        if not self._visitor.is_good:
            self._ending = Dropped("identity ended", UNAUTHENTICATED)
            self._ends.set()

    def tell(self, message: bytes) -> None:
        """A status message for this client, once it is known who it is; a newer one replaces one that still waits."""
        self._status = message
        self._awake.set()

    async def serve(self) -> None:
        """Returns when the client has left or was dropped."""
        await self._socket.accept()
        self._hub.join(self.id, self._outbox)
        metrics.CLIENTS.inc()
        reader = asyncio.create_task(self._read(), name=f"client-{self.id}-reads")
        writer = asyncio.create_task(self._write(), name=f"client-{self.id}-writes")
        leaver = asyncio.create_task(self._leave(), name=f"client-{self.id}-ends")
        tasks = (reader, writer, leaver)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except Dropped as dropped:
            self._drop(dropped)
        except WebSocketDisconnect:
            pass
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._feed.perform(self._hub.leave(self.id))
            metrics.OVERFLOWS.inc(self._outbox.overflows)
            metrics.CLIENTS.dec()

    def _drop(self, dropped: Dropped) -> None:
        metrics.DROPPED.labels(dropped.cause).inc()
        _log.warning("client_dropped", client=self.id, cause=dropped.cause, rows_waiting=self._outbox.rows_waiting)
        drop = dropper(self._socket.scope)
        if drop is not None:
            drop(dropped.code, dropped.cause, self._settings.drop_grace_s)

    # --- from the client ------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            message = await self._next_message()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            if not self._commands.take(time.monotonic()):
                raise Dropped("too many messages", POLICY_VIOLATION)
            try:
                await self._obey(message.get("text") or message.get("bytes") or "")
            except (CommandError, TopicError) as error:
                self._refuse(str(error))

    async def _next_message(self) -> MutableMapping[str, Any]:
        """A client that wants nothing has no claim to its place."""
        if not self.is_idle:
            return await self._socket.receive()
        deadline_s = self._idle_since_s + self._settings.subscribe_timeout_s
        try:
            async with asyncio.timeout(max(0.0, deadline_s - time.monotonic())):
                return await self._socket.receive()
        except TimeoutError:
            raise Dropped("nothing subscribed", POLICY_VIOLATION) from None

    async def _leave(self) -> None:
        await self._ends.wait()
        raise self._ending

    async def _obey(self, text: str | bytes) -> None:
        command = parse_command(text)
        if self._visitor.identity is None and not isinstance(command, Authenticate | Ping):
            raise CommandError("authenticate first")
        match command:
            case Authenticate(token=token):
                await self._authenticate(token)
            case Subscribe(topics=topics):
                await self._wait_for_share(len(topics))
                for topic in topics:
                    self._subscribe(topic)
            case Unsubscribe(topics=topics):
                for topic in topics:
                    self._feed.perform(self._hub.unsubscribe(self.id, Topic.parse(topic)))
                self._idle_since_s = time.monotonic()
            case Resync(topic=topic):
                await self._wait_for_share(1)
                self._hub.resync(self.id, Topic.parse(topic))
            case Ping(t=t):
                self._answer(codec.encode_pong(t))
            case Painted(samples=samples):
                self._painted(samples)

    async def _authenticate(self, token: str) -> None:
        """Topics that the identity has no right to (any more) end. Raises Dropped where the token is not good."""
        try:
            identity = await self._visitor.authenticate(token)
        except Refusal as refusal:
            raise Dropped(refusal.problem, UNAUTHENTICATED) from None
        for topic in self._outbox.topics:
            if not self._visitor.may_see(topic):
                self._feed.perform(self._hub.unsubscribe(self.id, topic))
                self._refuse(NO_RIGHT, str(topic))
        self._answer(codec.encode_me(Me.of(identity).model_dump(mode="json")))

    async def _wait_for_share(self, topics: int) -> None:
        """One client that asks without end is dropped; many of one address wait for each other. Raises Dropped."""
        if not self._asked.take(time.monotonic(), topics):
            raise Dropped("too many subscriptions", POLICY_VIOLATION)
        while True:
            if self.share.subscriptions.spend(time.monotonic(), topics):
                return
            await asyncio.sleep(self.share.subscriptions.until_some_s(time.monotonic()))

    def _painted(self, samples: Sequence[PaintedSample]) -> None:
        paints, ignored = self._paints.believe(samples, time.time_ns())
        self._latency.painted(paints, time.monotonic())
        for cause, count in ignored.items():
            metrics.PAINTS_IGNORED.labels(cause).inc(count)
        _trace_paints(paints)

    def _subscribe(self, text: str) -> None:
        """One bad topic among many refuses itself only."""
        try:
            topic = Topic.parse(text)
        except TopicError as error:
            self._refuse(str(error), text[:64])
            return
        if not self._visitor.may_see(topic):
            self._refuse(NO_RIGHT, text)
            return
        topics = self._outbox.topics
        if topic not in topics and len(topics) >= self._settings.subscriptions.max:
            self._refuse(f"at most {self._settings.subscriptions.max} topics", text)
            return
        self._feed.perform(self._hub.subscribe(self.id, topic))

    def _refuse(self, reason: str, topic: str | None = None) -> None:
        metrics.REFUSED.inc()
        self._answer(codec.encode_error(reason, topic))

    def _answer(self, message: bytes) -> None:
        self._answers.append(message)
        self._awake.set()

    # --- to the client --------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        settings = self._settings
        interval_s = 1.0 / settings.frames_per_s_max
        loop = asyncio.get_running_loop()
        due_s = 0.0
        await self._send(codec.encode_hello(self._session, {"frames_per_s_max": settings.frames_per_s_max}))
        while True:
            await self._awake.wait()
            self._awake.clear()
            while self._answers:
                await self._send(self._answers.popleft())
            if self._status is not None and self._visitor.identity is not None:
                status, self._status = self._status, None
                await self._send(status)
            now_s = loop.time()
            if now_s >= due_s:
                if await self._flush():
                    due_s = now_s + interval_s
            elif not self._timer_runs:
                self._timer_runs = True
                loop.call_at(due_s, self._frame_is_due)

    def _frame_is_due(self) -> None:
        """The loop's timers may come up to a millisecond early: the writer then waits once more."""
        self._timer_runs = False
        self._awake.set()

    async def _flush(self) -> bool:
        """Sends what has changed; returns whether anything had."""
        if self._outbox.full:
            raise Dropped("too far behind", TRY_AGAIN_LATER)
        snapshots, changes = self._outbox.take(self._rows_of)
        for snapshot in snapshots:
            await self._send(codec.encode_snapshot(snapshot, self._session))
            metrics.ROWS.inc(len(snapshot.rows))
        if changes:
            await self._frame(changes)
        return bool(snapshots or changes)

    def _rows_of(self, topic: Topic) -> Iterable[Mapping[str, Row]] | None:
        """The rows of a snapshot; None where they are not known, or more than the address may have now."""
        rows = self._hub.rows_of(topic)
        if rows is None:
            return None
        now_s = time.monotonic()
        if self.share.snapshot_rows.spend(now_s, SNAPSHOT_COST_ROWS + sum(map(len, rows))):
            return rows
        metrics.POSTPONED.inc()
        asyncio.get_running_loop().call_later(self.share.snapshot_rows.until_some_s(now_s), self._awake.set)
        return None

    async def _frame(self, changes: Sequence[Change]) -> None:
        spans = {index: _frame_span(c, self.id) for index, c in enumerate(changes) if is_sampled(c.traceparent)}
        traceparents = {index: _traceparent_of(span) for index, span in spans.items()}
        now_ns = time.time_ns()
        for index, change in enumerate(changes):
            self._paints.sent(change.topic.name, change.stamps, traceparents.get(index, ""), now_ns)
        try:
            await self._send(codec.encode_frame(changes, traceparents, now_ns))
        finally:
            for span in spans.values():
                span.end()
        metrics.FRAMES.inc()
        metrics.ROWS.inc(sum(len(change.rows) for change in changes))

    async def _send(self, message: bytes) -> None:
        try:
            async with asyncio.timeout(self._settings.stall_timeout_s):
                await self._socket.send({"type": "websocket.send", "text": message.decode()})
        except TimeoutError:
            raise Dropped("stalled", TRY_AGAIN_LATER) from None
        metrics.SENT_BYTES.inc(len(message))


def _frame_span(change: Change, client: int) -> Span:
    attributes: dict[str, Any] = {
        "tidemark.topic": str(change.topic),
        "tidemark.key": change.rows[0].key,
        "tidemark.rows": len(change.rows),
        "tidemark.client": client,
    }
    return _tracer.start_span("push frame", context_of(change.traceparent), SpanKind.PRODUCER, attributes)


def _traceparent_of(span: Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _trace_paints(paints: Sequence[Paint]) -> None:
    """The end of a trace: the browser had the change on the screen at ``painted_ns``."""
    for view, _, painted_ns, traceparent in paints:
        if is_sampled(traceparent):
            context = context_of(traceparent)
            span = _tracer.start_span(
                "paint", context, SpanKind.CONSUMER, {"tidemark.view": view}, start_time=painted_ns
            )
            span.end(painted_ns)
