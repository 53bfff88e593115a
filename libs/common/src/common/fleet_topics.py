"""Creates the fleet's topics from the topic table: ``python -m common.fleet_topics``."""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from streams.kafka import admin
from streams.kafka.kafka_log import KafkaLog
from streams.kafka.topic_settings import Drift, drifts
from streams.process.settings import Settings

from common.contracts.topics import TOPICS, Topic, with_dead_letters


async def create_topics(bootstrap: str, topics: Sequence[Topic] = TOPICS, replication: int = 1) -> list[str]:
    """Creates what is missing, dead-letter topics of stage inputs included; returns the names created.

    Raises Retriable where no broker answers, Fatal where the broker refuses.
    """
    return await admin.create_topics(bootstrap, with_dead_letters(topics), replication)


def main() -> None:
    """Command line of the topics job: creates what is missing, and says what is not as it should be.

    Ends with 1 where a difference endangers money: nothing that depends on the job starts then.
    """
    parser = argparse.ArgumentParser(prog="python -m common.fleet_topics", description=__doc__)
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
