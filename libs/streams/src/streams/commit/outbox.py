"""Records of a batch for its output topics: encoded where they are collected, in order for each partition."""

from collections import deque
from collections.abc import Mapping, Sequence

from streams.kafka.partitioner import partition_of
from streams.kafka.record_batches import size_alone
from streams.model.blocks import OutputBlock
from streams.model.framing import TEXT, Framed, Framing, is_framed, value_of
from streams.model.log import Partition, RecordFields, Records
from streams.model.message import Headers, Output
from streams.model.topics import Topic


def _framed(value: bytes | None, framing: Framing) -> bytes | None:
    return None if value is None else value_of(value, framing)


class _Sink:
    """One output topic."""

    def __init__(self, topic: Topic, framed: Framed) -> None:
        self.encode = topic.schema.encode
        self.framing = framed.get(topic.name)
        self.partitions = topic.partitions
        self.open: dict[int, list[RecordFields]] = {}
        """Batch that single records are added to, until a block follows."""

    def records(self, key: bytes, value: bytes | None) -> Sequence[tuple[bytes, bytes | None]]:
        """Keys and values as they are written."""
        if self.framing is None or value is None or is_framed(value):
            return ((key, value),)
        return self.framing.records(key, value)


class Outbox:
    """Collects the outputs of a batch. A stage writes to the topics it declared and to no other."""

    def __init__(
        self,
        stage: str,
        declared: frozenset[str],
        sizes_refused: Mapping[str, int] | None = None,
        framed: Framed = TEXT,
    ) -> None:
        self._framed = framed
        self._stage = stage
        self._sizes_refused = sizes_refused
        self._declared = declared
        self._sinks: dict[str, _Sink] = {}
        self._collected: deque[tuple[Partition, Records]] = deque()

    def add(self, output: Output, now_ms: int, headers: Headers) -> None:
        """Raises ValueError for a topic that was not declared or does not take as much, and what the topic's schema
        raises at the body."""
        topic = output.topic
        sink = self._sinks.get(topic.name)
        if sink is None:
            sink = self._open(topic)
        number, body, key = output.partition, output.body, output.key
        if number is None:
            number = partition_of(key, sink.partitions)
        value = None if body is None else sink.encode(body)
        records = sink.open.get(number)
        if records is None:
            records = sink.open[number] = []
            self._collected.append((Partition(topic.name, number), records))
        for record_key, record_value in sink.records(key, value):
            if self._sizes_refused:
                self._check_size(topic.name, (record_key, record_value, now_ms, headers))
            records.append((record_key, record_value, now_ms, headers))

    def _check_size(self, topic: str, record: RecordFields) -> None:
        refused = (self._sizes_refused or {}).get(topic)
        if refused is not None and (size := size_alone(record)) >= refused:
            raise ValueError(f"an output of {size} bytes for {topic}, which takes none of {refused}")

    def add_block(self, block: OutputBlock, now_ms: int, headers: Mapping[int, Headers]) -> None:
        """``headers`` as ``OutputBlock.records`` takes them. Raises ValueError for a topic that was not declared."""
        topic, number = block.topic, block.partition
        sink = self._sinks.get(topic.name) or self._open(topic)
        sink.open.pop(number, None)
        records: Records = block.records(now_ms, headers)
        if sink.framing is not None and not block.framed:
            records = [(key, _framed(value, sink.framing), at, more) for key, value, at, more in records]
        self._collected.append((Partition(topic.name, number), records))

    def _open(self, topic: Topic) -> _Sink:
        if topic.name not in self._declared:
            raise ValueError(f"stage {self._stage} did not declare the output topic {topic.name}")
        sink = self._sinks[topic.name] = _Sink(topic, self._framed)
        return sink

    def records(self) -> deque[tuple[Partition, Records]]:
        """The collected records; those of one partition in their order."""
        return self._collected
