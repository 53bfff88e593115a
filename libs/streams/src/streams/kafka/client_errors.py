"""aiokafka's errors and the broker's error codes, translated into the runtime's three."""

import contextlib
from collections.abc import Iterator

from aiokafka import errors as kafka_errors

from streams.model.errors import Fatal, Fenced, LogError, Retriable

_FENCED = (kafka_errors.ProducerFenced, kafka_errors.InvalidProducerEpoch, kafka_errors.InvalidProducerIdMapping)
_FATAL = (
    kafka_errors.UnknownTopicOrPartitionError,
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.TransactionalIdAuthorizationFailed,
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.RecordListTooLargeError,
    kafka_errors.IncompatibleBrokerVersion,
)
PRODUCER_FENCED = 90
UNKNOWN_TOPIC_OR_PARTITION = 3
CONCURRENT_TRANSACTIONS = 51
TOO_LARGE = frozenset({10, 18})
"""MESSAGE_TOO_LARGE: above ``max.message.bytes``; RECORD_LIST_TOO_LARGE: above ``segment.bytes``."""
NOT_DONE = frozenset({
    UNKNOWN_TOPIC_OR_PARTITION,  # also while metadata of a new topic spread
    5,  # LEADER_NOT_AVAILABLE
    6,  # NOT_LEADER_OR_FOLLOWER
    14,  # COORDINATOR_LOAD_IN_PROGRESS
    15,  # COORDINATOR_NOT_AVAILABLE
    16,  # NOT_COORDINATOR
    19,  # NOT_ENOUGH_REPLICAS; a 4.x broker answers it to an older produce while it writes markers
    20,  # NOT_ENOUGH_REPLICAS_AFTER_APPEND
    CONCURRENT_TRANSACTIONS,  # the last transaction's markers are being written
    100,  # UNKNOWN_TOPIC_ID: metadata spread, or the topic was deleted, which its reader looks into
    103,  # INCONSISTENT_TOPIC_ID
})  # fmt: skip
"""Codes after which the same request is sent again: the broker did not do it, or knows it by its sequence numbers."""


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Turns the client's errors into the runtime's."""
    try:
        yield
    except _FENCED as error:
        raise Fenced(f"{what}: {error!r}") from error
    except _FATAL as error:
        raise Fatal(f"{what}: {error!r}") from error
    except (kafka_errors.KafkaError, TimeoutError, OSError) as error:
        raise Retriable(f"{what}: {error!r}") from error


def refusal(what: str, code: int) -> LogError:
    """The error that stands for a code the broker answered with."""
    error = kafka_errors.for_code(code)
    message = f"{what}: {error.__name__} ({code})"
    if code == PRODUCER_FENCED or issubclass(error, _FENCED):
        return Fenced(message)
    if issubclass(error, _FATAL):
        return Fatal(message)
    return Retriable(message)
