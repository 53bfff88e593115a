"""How many partitions each co-partition group has on a cluster, asked there before the first key is placed.

The number is chosen when the group's topics are created, and kept in the register of stages from then on. So a group
whose topics were all given more partitions is found out, though they agree with each other. Where nothing was kept yet,
the number that most topics of the group have holds; a stage refuses those that have another, see ``kafka.topic_check``.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple, Protocol

from streams.model.log import RESTORE_POLL_MS, Log, Partition
from streams.model.topics import CoPartitionGroup, Topic

GROUP_PREFIX: Final = b"group/"
"""Keys of the register that name a group; what follows is its name, the value its number of partitions."""


class Cluster(Log, Protocol):
    """A log that knows the number of partitions of many topics at once: ``kafka.KafkaLog``."""

    async def partition_counts(self, topics: Collection[str]) -> Mapping[str, int]: ...


class Counts(NamedTuple):
    """A cluster's answer on topics and on their groups."""

    missing: list[str]
    """Names of topics that are not there."""
    found: dict[CoPartitionGroup, int]
    """Group → number of partitions; without groups of which nothing is kept and no topic is there."""
    kept: frozenset[CoPartitionGroup]
    """Groups whose number the register has."""


def prevailing(counts: Iterable[int]) -> int:
    """The most frequent number, the smallest of several that are."""
    seen = Counter(counts)
    return min(seen, key=lambda number: (-seen[number], number))


async def read_counts(cluster: Cluster, topics: Iterable[Topic], register: Topic) -> Counts:
    """Raises Retriable where no broker answers."""
    named = {topic.name: topic for topic in topics}
    there = await cluster.partition_counts([*named, register.name])
    kept = await _kept(cluster, Partition(register.name, 0)) if register.name in there else {}
    members: dict[CoPartitionGroup, list[int]] = defaultdict(list)
    for name, topic in named.items():
        if topic.group is not None:
            members[topic.group] += [there[name]] if name in there else []
    found = {
        group: kept[group.name] if group.name in kept else prevailing(counts)
        for group, counts in members.items()
        if counts or group.name in kept
    }
    missing = [name for name in named if name not in there]
    return Counts(missing, found, frozenset(group for group in found if group.name in kept))


async def settle(cluster: Cluster, topics: Iterable[Topic], register: Topic) -> list[str]:
    """Gives the groups of these topics the numbers that hold on the cluster; returns the names of missing topics.

    Raises Retriable where no broker answers.
    """
    counts = await read_counts(cluster, topics, register)
    for group, number in counts.found.items():
        group.partitions = number
    return counts.missing


async def _kept(log: Log, register: Partition) -> dict[str, int]:
    end = await log.last_stable_offset(register)
    reader = await log.read(register, await log.low_watermark(register))
    found: dict[str, int] = {}
    try:
        while reader.position < end:
            for record in await reader.poll(RESTORE_POLL_MS):
                key, value = record.key or b"", record.value or b""
                if key.startswith(GROUP_PREFIX) and value.isdigit() and int(value):
                    found[key.removeprefix(GROUP_PREFIX).decode("utf-8", "replace")] = int(value)
    finally:
        await reader.close()
    return found
