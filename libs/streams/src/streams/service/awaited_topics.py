"""The wait of a worker before it does anything: until its topics are there, and their partitions' number is known."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, Final

from streams.kafka.kafka_log import KafkaLog
from streams.kafka.partition_counts import settle
from streams.model.errors import Retriable
from streams.model.topics import Topic
from streams.process.logs import get_logger
from streams.process.settings import Settings

_log = get_logger(__name__)
NAMED_MAX: Final = 5


class AwaitedTopics:
    """Topics without which a worker does not begin. ``declared`` says which, once everything is declared."""

    def __init__(self, settings: Settings, app: str, declared: Callable[[], Iterable[Topic]], register: Topic) -> None:
        self._settings = settings
        self._app = app
        self._declared = declared
        self._register = register
        self._waits_for = "the cluster's answer"

    def ready(self) -> tuple[bool, Any]:
        """Ready once every topic was there; the detail says what is waited for until then."""
        return not self._waits_for, {"waits_for": self._waits_for}

    async def there(
        self, should_stop: Callable[[], bool] = lambda: False, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Until every topic is there, or the worker stops. The co-partition groups have their numbers then.

        Raises Fatal where the brokers are too old.
        """
        topics = list(self._declared())
        backoff = self._settings.restart.backoff()
        while not should_stop():
            self._say(await self._missing(topics) if topics else "")
            if not self._waits_for:
                return
            await sleep(backoff.next())

    async def _missing(self, topics: Iterable[Topic]) -> str:
        """Names the topics that are still waited for; empty: none."""
        log = KafkaLog(self._settings, f"{self._app}-topics")
        try:
            await log.start()
            return _named(await settle(log, topics, self._register))
        except Retriable as error:
            return f"the cluster's answer: {error}"
        finally:
            await log.stop()

    def _say(self, waits_for: str) -> None:
        if waits_for and waits_for != self._waits_for:
            _log.warning("waits_for_topics", app=self._app, waits_for=waits_for)
        self._waits_for = waits_for


def _named(missing: Collection[str]) -> str:
    if not missing:
        return ""
    names, more = sorted(missing)[:NAMED_MAX], len(missing) - NAMED_MAX
    beyond = f" and {more} more" if more > 0 else ""
    return f"topics {', '.join(names)}{beyond}; `tidemark topics create` or the topics job creates them"
