"""Members of a consumer group, for those who must not work beside them."""

import asyncio
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from streams.kafka.client_errors import translated
from streams.kafka.security import client_security

TRIES: Final = 10
BETWEEN_S: Final = 0.5


async def group_members(bootstrap: str, group: str) -> list[str]:
    """Client ids. Raises Retriable where no broker answers."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="tidemark-admin", **client_security())
    with translated(f"members of {group}"):
        await client.start()
        try:
            for _ in range(TRIES):
                try:
                    answers = await client.describe_consumer_groups([group])
                    break
                except GroupCoordinatorNotAvailableError:  # made when it is first asked for
                    await asyncio.sleep(BETWEEN_S)
            else:
                answers = await client.describe_consumer_groups([group])
        finally:
            await client.close()
    return sorted(str(member[1]) for answer in answers for described in answer.groups for member in described[5])
