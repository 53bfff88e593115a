"""Creates topics from the topic table: ``python -m common.runtime.admin``."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from common.contracts.topic_settings import Drift, drifts, settings_of
from common.contracts.topics import TOPICS, Topic, with_dead_letters
from common.runtime.client_errors import translated
from common.runtime.errors import Fatal
from common.runtime.kafka import KafkaLog
from common.runtime.settings import Settings


def _new_topics(topics: Sequence[Topic], replication: int) -> list[NewTopic]:
    wanted = []
    for topic in with_dead_letters(topics):
        config = {setting.name: setting.value for setting in settings_of(topic, replication)}
        wanted.append(NewTopic(topic.name, topic.partitions, replication, topic_configs=config))
    return wanted


async def create_topics(bootstrap: str, topics: Sequence[Topic] = TOPICS, replication: int = 1) -> list[str]:
    """Creates what is missing, dead-letter topics of stage inputs included; returns the names created.

    Raises Retriable where no broker answers, Fatal where the broker refuses.
    """
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="tidemark-admin")
    with translated(f"connect to {bootstrap}"):
        await client.start()
    try:
        with translated("create topics"):
            response = await client.create_topics(_new_topics(topics, replication))
        created = []
        for name, code, *message in response.topic_errors:
            error = for_code(code)
            if code == 0:
                created.append(name)
            elif error is not TopicAlreadyExistsError:
                raise Fatal(f"cannot create topic {name}: {error.__name__} {message}")
        return created
    finally:
        await client.close()


async def create_beside(bootstrap: str, topic: Topic, beside: str) -> None:
    """Creates a topic where it is missing, with as many replicas as another one has.

    Raises Retriable where no broker answers, Fatal where the broker refuses.
    """
    (partition, *_) = await _partitions(bootstrap, beside)
    await create_topics(bootstrap, [topic], len(partition["replicas"]))


async def leaders(bootstrap: str, topic: str) -> dict[int, int]:
    """Partition → id of the broker that leads it; -1 where none does.

    Raises Retriable where no broker answers, Fatal where there is no such topic.
    """
    return {int(each["partition"]): int(each["leader"]) for each in await _partitions(bootstrap, topic)}


async def _partitions(bootstrap: str, topic: str) -> list[dict[str, Any]]:
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="tidemark-admin")
    with translated(f"connect to {bootstrap}"):
        await client.start()
    try:
        with translated(f"describe {topic}"):
            (found,) = await client.describe_topics([topic])
    finally:
        await client.close()
    if found["error_code"]:
        raise Fatal(f"cannot describe topic {topic}: {for_code(found['error_code']).__name__}")
    partitions: list[dict[str, Any]] = found["partitions"]
    return partitions


def main() -> None:
    """Command line of the topics job: creates what is missing, and says what is not as it should be.

    Ends with 1 where a difference endangers money: nothing that depends on the job starts then.
    """
    parser = argparse.ArgumentParser(prog="python -m common.runtime.admin", description=__doc__)
    parser.add_argument("--bootstrap", default="127.0.0.1:9092", help="host:port[,host:port…] (default %(default)s)")
    parser.add_argument("--replication", type=int, default=1, help="replicas of each partition (default %(default)s)")
    options = parser.parse_args()
    created, differing = asyncio.run(_create_and_check(options.bootstrap, options.replication))
    sys.stdout.write("".join(f"created {name}\n" for name in created) or "every topic exists\n")
    sys.stdout.write("".join(f"{'DANGER' if drift.endangers else 'warning'}: {drift}\n" for drift in differing))
    sys.exit(int(any(drift.endangers for drift in differing)))


async def _create_and_check(bootstrap: str, replication: int) -> tuple[list[str], list[Drift]]:
    created = await create_topics(bootstrap, TOPICS, replication)
    log = KafkaLog(Settings(kafka_bootstrap=bootstrap), "tidemark-admin")
    await log.start()
    try:
        found = await log.found_topics([topic.name for topic in with_dead_letters(TOPICS)])
    finally:
        await log.stop()
    every = {topic.name: topic for topic in with_dead_letters(TOPICS)}
    return created, [
        drift for name, there in found.topics.items() for drift in drifts(every[name], there, found.brokers)
    ]


if __name__ == "__main__":
    main()
