"""Whatever number of partitions a deployment has, every writer and every reader finds a key on the same one."""

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from aiokafka.partitioner import DefaultPartitioner
from common.contracts.ticks import TICK
from common.contracts.topics import (
    ACCOUNTS,
    GROUPS,
    MARKET,
    MD_TICKS,
    ORDERS_EVENTS,
    ORDERS_INTENTS,
    RAW_SCHEMA,
    RISK_DECISIONS,
    TOPICS,
    Topic,
    market_partition,
    with_dead_letters,
)
from common.fleet_topics import group_partitions
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest.domain.partitions import deal
from orders.reads import _place
from streams.commit.outbox import Outbox
from streams.edges.sender import _enqueue
from streams.kafka.partition_counts import GROUP_PREFIX, prevailing, read_counts, settle
from streams.kafka.partitioner import partition_of
from streams.model.log import Partition, Record
from streams.model.message import Output
from streams.model.topics import CoPartitionGroup, changelog_topic
from streams.testing.memory_log import MemoryLog
from tidemark.chaos.recovery import lanes_of_service
from tidemark.chaos.storm import symbols_of, traders
from tidemark.topic_names import topic_named

COUNTS = st.integers(1, 64)
IDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.", min_size=1, max_size=32)
REGISTER = Topic("simulated.stages", schema=RAW_SCHEMA, partitions=1)
KEYED = [topic for topic in TOPICS if topic.key == "account_id"]


class Cluster(MemoryLog):
    """With the one question more that a cluster answers."""

    async def partition_counts(self, topics: Any) -> dict[str, int]:
        return {name: self._counts[name] for name in topics if name in self._counts}


def sent_to(topic: Topic, key: bytes) -> int:
    """The partition to which the HTTP gateway sends the key."""
    sent: list[int] = []

    async def send(*_: Any, partition: int, **__: Any) -> None:
        sent.append(partition)

    asyncio.run(_enqueue(SimpleNamespace(send=send), topic, key, b"{}", None, ()))
    return sent[0]


@settings(max_examples=60)
@given(count=COUNTS, account=IDS)
def test_account_when_there_are_so_many_partitions_then_all_agree_where_it_is(count: int, account: str) -> None:
    ACCOUNTS.partitions = count
    key = account.encode()
    here = partition_of(key, count)
    everywhere = list(range(count))
    assert DefaultPartitioner()(key, everywhere, everywhere) == here  # and whoever uses Kafka's own
    outbox = Outbox("risk.gate", frozenset(topic.name for topic in KEYED))
    for topic in KEYED:
        outbox.add(Output(Topic(topic.name, schema=RAW_SCHEMA, partitions=topic.partitioning), key, b""), 0, ())
        assert topic.dead_letter_topic.partitions == topic_named(topic.dead_letters).partitions == count
    assert [place.number for place, _ in outbox.records()] == [here] * len(KEYED)
    raw = Topic(ORDERS_INTENTS.name, schema=RAW_SCHEMA, partitions=ORDERS_INTENTS.partitioning)
    assert sent_to(raw, key) == here
    assert _place(ORDERS_EVENTS.name, account) == (ORDERS_EVENTS.name, here)


@settings(max_examples=30, deadline=None)  # the first one compiles
@given(count=COUNTS, instruments=st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=20))
def test_instrument_when_there_are_so_many_partitions_then_feed_and_venue_agree(
    count: int, instruments: list[int]
) -> None:
    MARKET.partitions = count
    ticks = np.zeros(len(instruments), TICK)
    ticks["instrument_id"] = instruments
    dealt = deal(ticks, MD_TICKS.partitions)
    assert len(dealt) == count
    for number, part in enumerate(dealt):
        assert all(market_partition(int(each)) == number for each in part["instrument_id"])


@pytest.mark.parametrize("count", [1, 4, 48, 64])
def test_storm_then_somebody_trades_on_every_partition(count: int) -> None:
    ACCOUNTS.partitions = count
    assert {partition_of(each.encode(), count) for each in traders()} == set(range(count))
    assert {lane.partition for lane in lanes_of_service("risk")} == set(range(count))


@pytest.mark.parametrize("count", [1, 4, 48, 64])
def test_storm_then_a_symbol_is_quoted_on_every_partition(count: int) -> None:
    MARKET.partitions = count
    quoted = {market_partition(instrument_id) for instrument_id in range(symbols_of({"market": count}))}
    assert quoted == {lane.partition for lane in lanes_of_service("signals")}


def test_topic_table_then_every_topic_has_its_group_or_one_partition() -> None:
    """A topic with a number of its own would stay behind where a deployment chooses another."""
    every = with_dead_letters(TOPICS)
    assert [topic.name for topic in every if topic.group not in GROUPS and topic.partitions != 1] == []
    assert {topic.partitions for topic in every if topic.group} == {4}


def test_topic_when_its_group_has_another_number_then_it_is_still_found_by_its_topic() -> None:
    handlers = {topic: topic.name for topic in TOPICS}
    ACCOUNTS.partitions = 48
    assert handlers[RISK_DECISIONS] == RISK_DECISIONS.name
    assert changelog_topic("risk", "other", RISK_DECISIONS.partitioning).partitions == 48


@given(counts=st.lists(st.integers(1, 64), min_size=1, max_size=12))
def test_prevailing_number_then_none_is_more_frequent(counts: list[int]) -> None:
    found = prevailing(counts)
    assert all(counts.count(found) >= counts.count(other) for other in counts)
    assert all(found <= other for other in counts if counts.count(other) == counts.count(found))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], {}),
        ([""], {}),
        (["48"], {"market": 48, "accounts": 48}),
        (["48", "market=8"], {"market": 8, "accounts": 48}),
        (["accounts=16,market=1"], {"market": 1, "accounts": 16}),
    ],
)
def test_words_for_partitions_then_each_group_has_its_number(words: list[str], found: dict[str, int]) -> None:
    assert group_partitions(words) == found


@pytest.mark.parametrize("word", ["0", "-1", "four", "acounts=4", "accounts=", "=4", "4=4", "1e2", "٤"])
def test_words_for_partitions_when_one_is_none_then_it_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="is no number of partitions"):
        group_partitions([word])


def cluster(**counts: int) -> Cluster:
    return Cluster({name: count for name, count in counts.items() if count} | {REGISTER.name: 1})


async def test_cluster_when_topics_disagree_then_the_number_of_most_holds_and_the_missing_are_named() -> None:
    group = CoPartitionGroup("pair")
    topics = [Topic(name, partitions=group) for name in ("one", "two", "three", "four")]
    assert await settle(cluster(one=6, two=8, three=6), topics, REGISTER) == ["four"]
    assert group.partitions == topics[0].partitions == 6


async def test_cluster_when_all_topics_were_enlarged_then_what_was_kept_holds() -> None:
    group = CoPartitionGroup("pair")
    topics = [Topic(name, partitions=group) for name in ("one", "two")]
    log = cluster(one=12, two=12)
    log.put(Partition(REGISTER.name, 0), Record(GROUP_PREFIX + b"pair", b"6", 0))
    log.put(Partition(REGISTER.name, 0), Record(b"count.stage.0", b"identity", 0))
    counts = await read_counts(log, topics, REGISTER)
    assert (counts.found, counts.kept, counts.missing) == ({group: 6}, frozenset({group}), [])


async def test_cluster_when_nothing_is_there_then_nothing_is_settled() -> None:
    group = CoPartitionGroup("pair", 48)
    assert await settle(Cluster({}), [Topic("one", partitions=group)], REGISTER) == ["one"]
    assert group.partitions == 48
