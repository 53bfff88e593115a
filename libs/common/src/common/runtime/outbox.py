"""What a batch writes to its output topics: encoded where it is collected, in a list for each partition."""

from collections import defaultdict

from common.contracts.topics import Topic
from common.runtime.log import Partition, RecordFields
from common.runtime.message import Headers, Output
from common.runtime.partitioner import partition_of


class _Sink:
    """One output topic."""

    def __init__(self, topic: Topic) -> None:
        self.encode = topic.schema.encode
        self.partitions = topic.partitions
        self.records: defaultdict[int, list[RecordFields]] = defaultdict(list)


class Outbox:
    """Collects the outputs of a batch. A stage writes to the topics it declared and to no other."""

    def __init__(self, stage: str, declared: frozenset[str]) -> None:
        self._stage = stage
        self._declared = declared
        self._sinks: dict[str, _Sink] = {}

    def add(self, output: Output, now_ms: int, headers: Headers) -> None:
        """Raises ValueError for a topic that was not declared, and what the topic's schema raises at the body."""
        topic = output.topic
        sink = self._sinks.get(topic.name)
        if sink is None:
            sink = self._open(topic)
        number, body, key = output.partition, output.body, output.key
        if number is None:
            number = partition_of(key, sink.partitions)
        value = None if body is None else sink.encode(body)
        sink.records[number].append((key, value, now_ms, headers))

    def _open(self, topic: Topic) -> _Sink:
        if topic.name not in self._declared:
            raise ValueError(f"stage {self._stage} did not declare the output topic {topic.name}")
        sink = self._sinks[topic.name] = _Sink(topic)
        return sink

    def records(self) -> dict[Partition, list[RecordFields]]:
        """What was collected."""
        return {
            Partition(name, number): records
            for name, sink in self._sinks.items()
            for number, records in sink.records.items()
        }
