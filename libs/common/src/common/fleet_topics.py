"""Creates the fleet's topics from the topic table: ``python -m common.fleet_topics``."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from streams.edges.sender import Sender
from streams.kafka import admin
from streams.kafka.kafka_log import KafkaLog
from streams.kafka.partition_counts import GROUP_PREFIX, Counts, read_counts, settle
from streams.kafka.topic_settings import Drift, drifts
from streams.model.errors import Fatal
from streams.model.topics import DEFAULT_PARTITIONS, RAW_SCHEMA, CoPartitionGroup
from streams.process.settings import KafkaSettings, Settings

from common.contracts.topics import GROUPS, STAGES, TOPICS, Topic, with_dead_letters

CLIENT: Final = "tidemark-admin"


def group_partitions(asked: Iterable[str]) -> dict[str, int]:
    """Group → number of partitions, of ``48`` (every group), ``accounts=48``, or several with commas; later ones hold.

    Raises ValueError where a word is neither, or a number is less than 1.
    """
    names = [group.name for group in GROUPS]
    found: dict[str, int] = {}
    for word in filter(None, (word for words in asked for word in words.split(","))):
        name, is_one, number = word.rpartition("=")
        is_number = number.isascii() and number.isdecimal() and int(number) > 0
        if (is_one and name not in names) or not is_number:
            raise ValueError(
                f"{word!r} is no number of partitions; write 48, or one of {', '.join(names)} like {names[0]}=48"
            )
        found |= dict.fromkeys([name] if is_one else names, int(number))
    return found


async def create_topics(
    bootstrap: str,
    topics: Sequence[Topic] = TOPICS,
    replication: int = 1,
    partitions: Mapping[str, int] | None = None,
) -> list[str]:
    """Creates what is missing, dead-letter topics of stage inputs included; returns the names created.

    ``partitions``: co-partition group → the number that its topics are to have, where the cluster has none of it yet;
    what is left out has 4. The numbers are kept on the cluster, and the groups have them in this process.

    Raises Retriable where no broker answers, Fatal where the broker refuses, or a group has another number already.
    """
    async with _cluster(bootstrap) as log:
        counts = await read_counts(log, [*TOPICS, *topics], STAGES)
        for group in {topic.group for topic in topics if topic.group is not None}:
            group.partitions = _chosen(group, counts, (partitions or {}).get(group.name))
        created = await admin.create_topics(bootstrap, with_dead_letters(topics), replication)
        if STAGES in topics:
            await _keep(bootstrap, [group for group in GROUPS if group not in counts.kept])
    return created


def _chosen(group: CoPartitionGroup, counts: Counts, asked: int | None) -> int:
    found = counts.found.get(group)
    if found is not None and asked not in (None, found):
        raise Fatal(
            f"the topics of group {group.name} have {found} partitions on this cluster, not {asked}: keys would lie on "
            "other partitions than their state; nothing was created"
        )
    return found or asked or DEFAULT_PARTITIONS


async def _keep(bootstrap: str, groups: Sequence[CoPartitionGroup]) -> None:
    """Writes the groups' numbers into the register, which is compacted."""
    if not groups:
        return
    sender = Sender(Settings(kafka=KafkaSettings(bootstrap=bootstrap)), CLIENT)
    await sender.start()
    try:
        register = Topic(STAGES.name, schema=RAW_SCHEMA, partitions=1)
        await sender.send_many(
            register, [(GROUP_PREFIX + group.name.encode(), b"%d" % group.partitions) for group in groups]
        )
    finally:
        await sender.stop()


@asynccontextmanager
async def _cluster(bootstrap: str) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(Settings(kafka=KafkaSettings(bootstrap=bootstrap)), CLIENT)
    await log.start()
    try:
        yield log
    finally:
        await log.stop()


async def settle_groups(bootstrap: str) -> list[str]:
    """Gives the groups in this process the numbers that they have on the cluster; returns topics that are missing.

    Raises Retriable where no broker answers.
    """
    async with _cluster(bootstrap) as log:
        return await settle(log, TOPICS, STAGES)


def main() -> None:
    """Command line of the topics job: creates what is missing, and says what is not as it should be.

    Ends with 1 where a difference endangers money, or the topics have other numbers of partitions than asked for:
    nothing that depends on the job starts then.
    """
    parser = argparse.ArgumentParser(prog="python -m common.fleet_topics", description=__doc__)
    parser.add_argument("--bootstrap", default="127.0.0.1:9092", help="host:port[,host:port…] (default %(default)s)")
    parser.add_argument("--replication", type=int, default=1, help="replicas of each partition (default %(default)s)")
    parser.add_argument(
        "--partitions",
        action="append",
        default=[],
        help=f"of every co-partition group, or GROUP=N for one of {', '.join(each.name for each in GROUPS)}; "
        f"repeatable (default: as on the cluster, else {DEFAULT_PARTITIONS})",
    )
    options = parser.parse_args()
    try:
        asked = group_partitions(options.partitions)
        created, differing = asyncio.run(_create_and_check(options.bootstrap, options.replication, asked))
    except (ValueError, Fatal) as error:
        sys.exit(str(error))
    sys.stdout.write("".join(f"created {name}\n" for name in created) or "every topic exists\n")
    sys.stdout.write("".join(f"{'DANGER' if drift.endangers else 'warning'}: {drift}\n" for drift in differing))
    sys.exit(int(any(drift.endangers for drift in differing)))


async def _create_and_check(
    bootstrap: str, replication: int, partitions: Mapping[str, int]
) -> tuple[list[str], list[Drift]]:
    created = await create_topics(bootstrap, TOPICS, replication, partitions)
    async with _cluster(bootstrap) as log:
        found = await log.found_topics([topic.name for topic in with_dead_letters(TOPICS)])
    every = {topic.name: topic for topic in with_dead_letters(TOPICS)}
    return created, [
        drift for name, there in found.topics.items() for drift in drifts(every[name], there, found.brokers)
    ]


if __name__ == "__main__":
    main()
