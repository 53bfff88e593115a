"""Requests that wait for their answer on the committed tail of the log.

Every replica tails every partition, so it does not matter which of them a client asks. A request is registered before
its message is sent: the answer may be committed before the broker's acknowledgement of the message has come back.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from common.contracts.cancels import CancelReport
from common.contracts.controls import ControlResult
from common.contracts.events import CommandResult, Decision, OrderEvent
from common.contracts.what_ifs import WhatIf, WhatIfAnswer
from streams.model.message import Message
from streams.process.logs import get_logger

_log = get_logger(__name__)
Answer = Decision | CommandResult | ControlResult | WhatIf | WhatIfAnswer | OrderEvent | CancelReport


class TooManyWaiting(Exception):
    """``inflight_max`` requests wait already."""


class Waiter:
    """One request's place at the tail; it keeps what concerns it from the moment of its registration."""

    def __init__(self, concerns: Callable[[Any], bool]) -> None:
        self._concerns = concerns
        self._found: deque[Any] = deque()
        self._arrived = asyncio.Event()

    def offer(self, answer: Any) -> None:
        if self._concerns(answer):
            self._found.append(answer)
            self._arrived.set()

    async def next(self) -> Any:
        """The next record that concerns this request, in the order of the log."""
        while not self._found:
            self._arrived.clear()
            await self._arrived.wait()
        return self._found.popleft()


class Verdicts:
    """Requests that wait for a decision. Records of accounts that nobody waits for are not even decoded."""

    def __init__(self, inflight_max: int) -> None:
        self._inflight_max = inflight_max
        self._waiting: dict[bytes, list[Waiter]] = {}
        self.inflight = 0

    def on_messages(self, messages: Sequence[Message]) -> None:
        """The callback of the tail. Never raises: an undecodable record answers nobody."""
        for message in messages:
            waiters = self._waiting.get(message.key or b"")
            if not waiters:
                continue
            try:
                answer = message.body
            except ValueError as error:
                _log.error("tail_record_refused", topic=message.topic.name, offset=message.offset, error=str(error))
                continue
            for waiter in waiters:
                waiter.offer(answer)

    @contextmanager
    def waiting(self, account_id: str, concerns: Callable[[Any], bool], is_urgent: bool = False) -> Iterator[Waiter]:
        """Registers a request for as long as the block runs. Raises TooManyWaiting beyond the bound.

        ``is_urgent``: to stop trading is not to wait for those who trade; who asks is bounded by the API.
        """
        if self.inflight >= self._inflight_max and not is_urgent:
            raise TooManyWaiting
        key = account_id.encode()
        waiter = Waiter(concerns)
        self.inflight += 1
        self._waiting.setdefault(key, []).append(waiter)
        try:
            yield waiter
        finally:
            self.inflight -= 1
            waiters = self._waiting[key]
            waiters.remove(waiter)
            if not waiters:
                del self._waiting[key]
