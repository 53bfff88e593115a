"""A source whose broker gives no answer opens anew and goes on where the last commit left off."""

import asyncio
from collections.abc import AsyncIterator, Collection
from pathlib import Path

import pytest
from common.contracts.topics import RAW_SCHEMA, Topic
from streams.edges import source as runtime
from streams.edges.source import Source, SourceBatch, SourceService
from streams.kafka.topic_settings import FoundTopic, FoundTopics
from streams.model.errors import Fenced, LogError, Retriable
from streams.model.log import Partition
from streams.model.message import Output
from streams.process.settings import RestartSettings, Settings
from streams.testing.memory_log import MemoryLog

OUTPUT = Topic("fed.out", "account", RAW_SCHEMA, "test", partitions=1)
CHANGELOG = Topic("fed.feed.changelog", "table/key", RAW_SCHEMA, "test", partitions=1)
BATCHES = 3


class TroubledLog(MemoryLog):
    """Fails once at a step, as a broker that is killed in the middle of a batch makes the client do."""

    def __init__(self, step: str, error: LogError) -> None:
        super().__init__({OUTPUT.name: 1, CHANGELOG.name: 1}, self._strike)
        self._step = step
        self._error: LogError | None = error

    def _strike(self, step: str) -> None:
        if step == self._step and self._error:
            error, self._error = self._error, None
            raise error

    async def start(self) -> None:
        """There is nothing to connect to."""

    async def stop(self) -> None:
        """There is nothing to leave."""

    async def found_topics(self, topics: Collection[str]) -> FoundTopics:
        """As they were made."""
        return FoundTopics(1, {name: FoundTopic(1, 1, {}) for name in topics})


async def feed(position: bytes | None) -> AsyncIterator[SourceBatch]:
    for number in range(int(position or b"0"), BATCHES):
        yield SourceBatch([Output(OUTPUT, b"key", b"%d" % number, 0)], b"%d" % (number + 1))


@pytest.mark.parametrize("step", ["fence", "begin", "append", "appended", "commit", "committed"])
@pytest.mark.parametrize("error", [Retriable("append: TimeoutError()"), Fenced("append")])
async def test_source_when_a_batch_has_no_answer_then_it_opens_anew_and_feeds_each_once(
    step: str, error: LogError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = TroubledLog(step, error)
    monkeypatch.setattr(runtime, "KafkaLog", lambda *_: log)
    settings = Settings(data_dir=tmp_path, worker_id="a", restart=RestartSettings(backoff_min_s=0.01))
    service = SourceService(Source("fed", "feed", feed, (OUTPUT,), CHANGELOG), settings)
    async with service, asyncio.timeout(10):
        while service.ready()[1]["state"] != "finished":
            await asyncio.sleep(0.01)
            assert service.crash_reason is None
    assert log._error is None, "the trouble has come"
    assert [record.value for record in log.committed(Partition(OUTPUT.name, 0))] == [b"0", b"1", b"2"]
