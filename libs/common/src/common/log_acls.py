"""Access control lists of the log, from the table of rights: what it does not grant to a service, the broker denies.

A service is known to the broker by the name in its certificate, which is the service's.
"""

from collections.abc import Iterator
from typing import Final

from streams.kafka.acls import CLUSTER, EVERY, Acl, Operation, Pattern, Resource

from common.contracts.rights import COMMAND_LINE, TOPIC_RIGHTS, WORKERS
from common.contracts.topics import RUNTIME_OPERATIONS

_WRITES: Final = (Operation.WRITE, Operation.DESCRIBE)
_READS: Final = (Operation.READ, Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS)


def acls() -> Iterator[Acl]:
    """Every list that the fleet needs, each once."""
    yield from dict.fromkeys((*_topics(), *_groups(), *_transactions(), *_operators()))


def _topics() -> Iterator[Acl]:
    """A stage that writes a topic also looks whether it is set as it should be."""
    for name, rights in TOPIC_RIGHTS.items():
        for service in rights.writers:
            for operation in (*_WRITES, Operation.DESCRIBE_CONFIGS):
                yield Acl(service, Resource.TOPIC, name, operation)
        for service in rights.readers:
            for operation in _READS:
                yield Acl(service, Resource.TOPIC, name, operation)


def _groups() -> Iterator[Acl]:
    """Groups are named after the stage, and so begin with the service's name."""
    for service in WORKERS:
        for operation in (Operation.READ, Operation.DESCRIBE):
            yield Acl(service, Resource.GROUP, f"{service}.", operation, Pattern.PREFIXED)


def _transactions() -> Iterator[Acl]:
    """A service's own ids, by which its workers shut each other out; and the sight of those that block a read."""
    for service in WORKERS:
        for operation in _WRITES:
            yield Acl(service, Resource.TRANSACTIONAL_ID, f"{service}.", operation, Pattern.PREFIXED)
    for service in (*WORKERS, "auditor"):
        yield Acl(service, Resource.TRANSACTIONAL_ID, EVERY, Operation.DESCRIBE)


def _operators() -> Iterator[Acl]:
    """The command line makes and sets topics, reads all of them, and shuts owners out (ADR 0034)."""
    for operation in (*_READS, Operation.CREATE, Operation.ALTER_CONFIGS):
        yield Acl(COMMAND_LINE, Resource.TOPIC, EVERY, operation)
    yield Acl(COMMAND_LINE, Resource.CLUSTER, CLUSTER, Operation.DESCRIBE)
    yield Acl(COMMAND_LINE, Resource.GROUP, EVERY, Operation.DESCRIBE)
    for operation in _WRITES:
        yield Acl(COMMAND_LINE, Resource.TRANSACTIONAL_ID, EVERY, operation)
        yield Acl(COMMAND_LINE, Resource.TRANSACTIONAL_ID, RUNTIME_OPERATIONS.name, operation)
