"""Who is in a consumer group, for those who must not work beside its members."""

from aiokafka.admin import AIOKafkaAdminClient

from common.runtime.client_errors import translated


async def group_members(bootstrap: str, group: str) -> list[str]:
    """Client ids. Raises Retriable where no broker answers."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="tidemark-admin")
    with translated(f"members of {group}"):
        await client.start()
        try:
            answers = await client.describe_consumer_groups([group])
        finally:
            await client.close()
    return sorted(str(member[1]) for answer in answers for described in answer.groups for member in described[5])
