"""Asks a stage's handlers about a batch, and gathers what they say."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import compress
from operator import attrgetter
from typing import Final

from opentelemetry.trace import SpanKind

from streams.commit.outbox import Outbox
from streams.model.blocks import Answers
from streams.model.declaration import BatchHandler, Handler
from streams.model.framing import TEXT, Framed
from streams.model.message import Handled, Headers, Message, Output, View
from streams.process.telemetry import continued_span, current_traceparent, to_record
from streams.state.overlay import TaskTables

NS_PER_MS: Final = 1_000_000


class PoisonError(Exception):
    """The handler refused the message at ``index`` of the batch; those before it are sound."""

    def __init__(self, index: int, cause: Exception) -> None:
        super().__init__(f"message {index} of the batch: {cause!r}")
        self.index = index
        self.cause = cause


class Handling:
    """One batch: what is said to it is in ``outbox`` and ``views``, what is written in the tables.

    Every method raises OSError where a store cannot be read.
    """

    def __init__(
        self,
        stage: str,
        outputs: frozenset[str],
        handler: Handler,
        tables: TaskTables,
        now_ns: int,
        sizes_refused: Mapping[str, int] | None = None,
        framed: Framed = TEXT,
    ) -> None:
        self.outbox = Outbox(stage, outputs, sizes_refused, framed)
        self.views: list[tuple[View, str]] = []
        self._stage = stage
        self._handler = handler
        self._tables = tables
        self._now_ns = now_ns

    def one_by_one(self, batch: Sequence[Message], begin: int, end: int) -> None:
        """Messages of the batch by the handler. Raises PoisonError."""
        handler, tables, now_ns = self._handler, self._tables, self._now_ns
        collect, views, now_ms = self.outbox.add, self.views, self._now_ns // NS_PER_MS
        index = begin
        try:
            for index in range(begin, end):
                message = batch[index]
                handled: Handled
                headers: Headers = ()
                traceparent = ""
                if message.headers and (traceparent := message.traceparent):
                    handled, traceparent = self._traced(message, traceparent)
                    headers = _context(traceparent)
                else:
                    handled = handler(message, tables, now_ns)
                for item in handled:
                    if isinstance(item, Output):
                        collect(item, now_ms, headers)
                    else:
                        views.append((item, traceparent))
        except OSError:
            raise  # the store's fault, not the message's
        except Exception as error:  # a handler may raise anything
            raise PoisonError(index, error) from error

    def _traced(self, message: Message, traceparent: str) -> tuple[Handled, str]:
        """The handler's answer, and the trace context for it: that of the span where one is recorded."""
        if not to_record(traceparent):
            return self._handler(message, self._tables, self._now_ns), traceparent
        name, ids = f"{self._stage} {message.topic.name}", _ids_of(message)
        with continued_span(name, traceparent, SpanKind.CONSUMER, ids=ids):
            return list(self._handler(message, self._tables, self._now_ns)), current_traceparent()

    def at_once(self, batch: Sequence[Message], batch_handler: BatchHandler) -> None:
        """The whole batch by its handler. Raises PoisonError for what that left to the handler, and what it raises."""
        begin = end = 0
        began_ns = time.time_ns()  # by the clock that ends spans
        for said in batch_handler(batch, self._tables, self._now_ns):
            end = begin + (said if isinstance(said, int) else said.messages)
            if end > len(batch):
                break
            if isinstance(said, int):
                self.one_by_one(batch, begin, end)
            else:
                self._collect(said, batch[begin:end], began_ns)
            begin, began_ns = end, time.time_ns()
        if end != len(batch):
            raise ValueError(f"the batch handler of {self._stage} spoke of {end} messages, there are {len(batch)}")

    def _collect(self, said: Answers, messages: Sequence[Message], began_ns: int) -> None:
        traced = {
            number: self._span(message, traceparent, began_ns)
            for number, message in compress(enumerate(messages), map(attrgetter("headers"), messages))
            if (traceparent := message.traceparent)
        }
        headers = {number: _context(traceparent) for number, traceparent in traced.items()}
        for block in said.outputs:
            self.outbox.add_block(block, self._now_ns // NS_PER_MS, headers)
        self.views += [(view, traced.get(number, "")) for number, view in said.views]

    def _span(self, message: Message, traceparent: str, began_ns: int) -> str:
        """The trace context of a span that began when the messages were first looked at and ends now."""
        if not to_record(traceparent):
            return traceparent
        name = f"{self._stage} {message.topic.name}"
        with continued_span(name, traceparent, SpanKind.CONSUMER, began_ns=began_ns, ids=_ids_of(message)):
            return current_traceparent()


def _ids_of(message: Message) -> Mapping[str, str]:
    """Ids of a message that may be anything: bytes that cannot be decoded are about nothing that is known."""
    with suppress(Exception):
        return message.topic.schema.ids(message.body)
    return {}


def _context(traceparent: str) -> Headers:
    return (("traceparent", traceparent.encode()),)
