"""Creates topics as they are declared, and asks who leads their partitions."""

import time
from collections.abc import Sequence
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from streams.kafka.client_errors import translated
from streams.kafka.security import client_security
from streams.kafka.topic_requests import BROKER, AlterConfigs, Altered
from streams.kafka.topic_settings import settings_of
from streams.model.errors import Fatal
from streams.model.topics import Topic
from streams.process.settings import Settings

REREAD: Final = "tidemark.files.reread"
"""Setting of a broker whose value nobody reads."""


def _new_topics(topics: Sequence[Topic], replication: int) -> list[NewTopic]:
    wanted = []
    for topic in topics:
        config = {setting.name: setting.value for setting in settings_of(topic, replication)}
        wanted.append(NewTopic(topic.name, topic.partitions, replication, topic_configs=config))
    return wanted


async def create_topics(bootstrap: str, topics: Sequence[Topic], replication: int = 1) -> list[str]:
    """Creates what is missing; returns the names created.

    Raises Retriable where no broker answers, Fatal where the broker refuses.
    """
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="tidemark-admin", **client_security())
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


async def reread_files(settings: Settings) -> None:
    """Has every broker read its certificate again, a moment later. Whoever is connected stays so; the next one is shown
    the new one. A broker goes on with the old one where the file has none that is good, and says so in its own log.

    Raises Retriable where a broker does not answer, Fatal where one refuses: whoever asks has not the right.
    """
    client = AIOKafkaAdminClient(
        bootstrap_servers=settings.kafka.bootstrap, client_id="tidemark-admin", **client_security(settings.kafka)
    )
    with translated(f"connect to {settings.kafka.bootstrap}"):
        await client.start()
    try:
        with translated("brokers"):
            cluster = await client._client.fetch_all_metadata()
        for broker in cluster.brokers():
            # A record of its own settings has a broker look at their files (KAFKA-14136); this one it does not know.
            request = AlterConfigs({str(broker.nodeId): {REREAD: str(time.time_ns())}}, BROKER)
            with translated(f"certificate of broker {broker.nodeId}"):
                answer: Altered = await client._send_request_to_node(broker.nodeId, request)
            for code, words in answer.refused.values():
                raise Fatal(f"broker {broker.nodeId} keeps its certificate: {for_code(code).__name__} {words}".rstrip())
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
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="tidemark-admin", **client_security())
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
