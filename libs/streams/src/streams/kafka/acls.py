"""Access control lists of a broker, as values; and how they get there."""

import asyncio
from collections.abc import Iterable
from enum import IntEnum
from typing import Final, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.admin import DescribeAclsRequest

from streams.kafka.acl_requests import AclsCreated, CreateAcls
from streams.kafka.client_errors import translated
from streams.kafka.security import client_security
from streams.model.errors import Fatal
from streams.process.settings import Settings


class Resource(IntEnum):
    """Kind of a resource, by the number that the protocol has for it (``ResourceType``)."""

    TOPIC = 2
    GROUP = 3
    CLUSTER = 4
    TRANSACTIONAL_ID = 5


class Operation(IntEnum):
    """An action on a resource that may be allowed, by the protocol's number (``AclOperation``)."""

    ALL = 2
    READ = 3
    WRITE = 4
    CREATE = 5
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11


class Pattern(IntEnum):
    """How a resource is named (``PatternType``)."""

    LITERAL = 3
    PREFIXED = 4


CLUSTER: Final = "kafka-cluster"
EVERY: Final = "*"
POLL_S: Final = 0.05
_ANY: Final = 1
"""The protocol's number for any kind of resource, pattern, operation or permission."""
_OPERATIONS, _PATTERNS = frozenset(Operation), frozenset(Pattern)


class Acl(NamedTuple):
    """Allows a principal one operation. What no list allows is denied, if the broker is set so."""

    principal: str
    resource: Resource
    name: str
    operation: Operation
    pattern: Pattern = Pattern.LITERAL


async def create_acls(settings: Settings, acls: Iterable[Acl]) -> int:
    """Puts them on the brokers, until each of them holds to all; those that are there already stay. Returns how many.

    Raises Retriable where no broker answers, or one does not come to know them in time, Fatal where it refuses.
    """
    wanted = list(acls)
    client = AIOKafkaAdminClient(
        bootstrap_servers=settings.kafka.bootstrap, client_id="tidemark-admin", **client_security(settings.kafka)
    )
    with translated(f"connect to {settings.kafka.bootstrap}"):
        await client.start()
    try:
        # All in one request: the controller takes 30 ms for one, whether it makes a single list or all of them.
        request = CreateAcls((a.resource, a.name, a.pattern, f"User:{a.principal}", a.operation) for a in wanted)
        with translated("create acls"):
            answer: AclsCreated = await client._send_request(request)
        for acl, (code, message) in zip(wanted, answer.results, strict=True):
            if code:
                raise Fatal(f"{acl}: {for_code(code).__name__} {message}".rstrip())
        with translated("wait for acls"):
            async with asyncio.timeout(settings.request_timeout_ms / 1000):
                for node in (await client.describe_cluster())["brokers"]:
                    await _until_known(client, node["node_id"], wanted)
    finally:
        await client.close()
    return len(wanted)


async def _until_known(client: AIOKafkaAdminClient, node_id: int, acls: Iterable[Acl]) -> None:
    missing = set(acls)
    while True:
        missing -= await _known_to(client, node_id)
        if not missing:
            return
        await asyncio.sleep(POLL_S)


async def _known_to(client: AIOKafkaAdminClient, node_id: int) -> set[Acl]:
    """Lists that a broker holds to: the controller has them before, by a second and more where there are many."""
    request = DescribeAclsRequest(_ANY, None, _ANY, None, None, _ANY, _ANY)
    answer = await client._send_request(request, node_id)
    return {
        Acl(principal.removeprefix("User:"), Resource(kind), name, Operation(operation), Pattern(pattern))
        for kind, name, pattern, lists in answer.resources
        for principal, _, operation, _ in lists
        if operation in _OPERATIONS and pattern in _PATTERNS
    }
