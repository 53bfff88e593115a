"""New metadata of a client's, with an end to the wait for it.

aiokafka fetches metadata in a task of each client. Whoever needs new ones waits for the task's next round, with no end,
and where an error has ended the task, nobody is told and nobody comes to an end.
"""

import asyncio

from aiokafka.client import AIOKafkaClient

from streams.kafka.broker_watch import is_broker_away
from streams.kafka.internals import metadata_failure, restart_metadata
from streams.process.logs import get_logger

_log = get_logger(__name__)


async def refresh_metadata(client: AIOKafkaClient, within_ms: int) -> None:
    """Waits until there are new metadata, for ``within_ms`` at most; then the client's task is started anew."""
    failure = metadata_failure(client)
    if failure is not None:
        _log.error("metadata_task_failed", error=repr(failure))
        restart_metadata(client)
    try:
        async with asyncio.timeout(within_ms / 1_000):
            await client.force_metadata_update()
    except TimeoutError:
        if not is_broker_away():
            _log.warning("metadata_overdue", after_s=within_ms / 1_000)
        restart_metadata(client)
