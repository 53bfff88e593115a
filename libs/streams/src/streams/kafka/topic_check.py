"""Whether a stage's topics are as the topic table says: looked at before the stage serves, and all the time after.

What endangers money keeps a stage from serving until an operator has put it right. While it serves, only a changed
number of partitions stops it, since from then on writers may put keys where their state is not; another dangerous
setting harms nothing that the stage has, so it goes on, and says that it is not ready. See ADR 0030.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple, Protocol

from streams.kafka.topic_settings import PARTITIONS, Drift, FoundTopic, FoundTopics, drifts
from streams.model.errors import Fatal, LogError
from streams.model.topics import Topic
from streams.process import metrics
from streams.process.logs import get_logger

_log = get_logger(__name__)
DANGER: Final = "danger"
WARNING: Final = "warning"


class Expected(NamedTuple):
    """A topic of a stage. ``holds_state``: the stage is restored from it; ``needed``: it cannot run without.

    What is neither, a topic for dead letters, endangers nothing that the stage has.
    """

    topic: Topic
    holds_state: bool = False
    needed: bool = True


class Topics(Protocol):
    """Access to the topics: ``kafka.KafkaLog``."""

    async def found_topics(self, topics: Collection[str]) -> FoundTopics: ...


class TopicCheck:
    """Today's differences, said once each in the log, and as a metric as long as they last."""

    def __init__(self, app: str, stage: str, expected: Iterable[Expected], cluster: Topics, interval_s: float) -> None:
        self._labels = (app, stage)
        self._expected = {each.topic.name: each for each in expected}
        self._cluster = cluster
        self._interval_s = interval_s
        self._drifts: dict[tuple[str, str], Drift] = {}
        self._looked = asyncio.Event()

    @property
    def dangers(self) -> list[Drift]:
        """Differences for which the stage must not begin to serve."""
        return [drift for drift in self._drifts.values() if drift.endangers]

    @property
    def stops(self) -> list[Drift]:
        """Differences for which a stage that serves must stop."""
        return [drift for drift in self.dangers if drift.setting == PARTITIONS]

    def page(self) -> list[str]:
        """For the ready page: one line each, dangers first."""
        return [str(drift) for drift in sorted(self._drifts.values(), key=lambda drift: not drift.endangers)]

    async def look(self) -> None:
        """Raises Fatal where a topic is not there that the stage cannot run without, Retriable without an answer."""
        found = await self._cluster.found_topics(list(self._expected))
        for name, expected in self._expected.items():
            if expected.needed and name not in found.topics:
                raise Fatal(f"topic {name} does not exist; `tidemark topics create` or the topics job creates it")
        self._note([
            drift
            for name, there in found.topics.items()
            for drift in self._drifts_of(self._expected[name], there, found.brokers)
        ])  # fmt: skip
        self._looked.set()

    @staticmethod
    def _drifts_of(expected: Expected, there: FoundTopic, brokers: int) -> Iterable[Drift]:
        matters = expected.needed or expected.holds_state
        for drift in drifts(expected.topic, there, brokers, holds_state=expected.holds_state):
            yield drift if matters else drift._replace(endangers=False)

    def _note(self, now: list[Drift]) -> None:
        before, self._drifts = self._drifts, {(drift.topic, drift.setting): drift for drift in now}
        for place, drift in self._drifts.items():
            if before.get(place) != drift:
                say = _log.error if drift.endangers else _log.warning
                say("topic_drift", stage=".".join(self._labels), endangers=drift.endangers, reason=str(drift))
            metrics.TOPIC_DRIFT.labels(*self._labels, *place, DANGER if drift.endangers else WARNING).set(1)
        for place in before.keys() - self._drifts.keys():
            kind = DANGER if before[place].endangers else WARNING
            metrics.TOPIC_DRIFT.remove(*self._labels, *place, kind)
            _log.info("topic_drift_gone", stage=".".join(self._labels), topic=place[0], setting=place[1])

    async def keep_looking(self) -> None:
        """Until cancelled. Without an answer, or without a topic, what was known stays."""
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self.look()
            except LogError as error:
                _log.debug("topics_not_seen", stage=".".join(self._labels), error=str(error))

    async def until_safe(self) -> None:
        """Until nothing keeps the stage from serving."""
        await self._until(lambda: not self.dangers)

    async def until_stopped(self) -> None:
        """Until something is so that stops a stage that serves."""
        await self._until(lambda: bool(self.stops))

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._looked.clear()
            await self._looked.wait()
