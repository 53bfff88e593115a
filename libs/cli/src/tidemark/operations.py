"""Keeps what an operator does by hand in the log, before it is done."""

import getpass
import socket
import time
from collections.abc import Iterable

from common.contracts.operations import OperatorAction
from common.contracts.topics import OPERATIONS
from common.runtime.admin import create_topics
from common.runtime.sender import Sender
from common.runtime.settings import Settings


async def record(settings: Settings, command: str, changes: Iterable[str], reason: str, replicas: int) -> None:
    """Appends to ``runtime.operations``, which is made where it is missing. Raises LogError where it cannot."""
    await create_topics(settings.kafka_bootstrap, [OPERATIONS], replicas)
    action = OperatorAction(
        command=command,
        by=f"{getpass.getuser()}@{socket.gethostname()}",
        reason=reason,
        changes=tuple(changes),
        at_ns=time.time_ns(),
    )
    sender = Sender(settings, "tidemark-cli")
    await sender.start()
    try:
        await sender.send(OPERATIONS, command.encode(), action)
    finally:
        await sender.stop()
