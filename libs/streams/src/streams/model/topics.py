"""A topic: its name, the look of its records, and how it is to be kept on the broker."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, overload

from pydantic import TypeAdapter

from streams.model.framing import Framing

DEFAULT_PARTITIONS: Final = 4
DAY_MS: Final = 86_400_000
DEAD_LETTER_RETENTION_MS: Final = 30 * DAY_MS
Cleanup = Literal["delete", "compact"]
Compatibility = Literal["FULL_TRANSITIVE", "BACKWARD_TRANSITIVE"]
"""The rule for every version of a topic's schema, by the names of Confluent's registry: all of them read each other,
or each reads what those before it have written.
"""


def _names_nothing(_body: Any) -> Mapping[str, str]:
    return {}


def _never(_value: bytes) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Schema:
    """How a record's value is read and written. ``decode`` raises ValueError (or a subclass) for a poison value.

    ``encode`` takes what ``decode`` returns; JSON schemas also take bytes, as they are, from a writer whose own encoder
    a test holds to the model byte by byte.
    """

    name: str
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]
    model: TypeAdapter[Any] | None = None
    """The pydantic side of it, where there is one: JSON Schemas are exported from here."""
    version: int = 1
    """Raised with every change that a reader notices."""
    ids: Callable[[Any], Mapping[str, str]] = _names_nothing
    """Attributes by which the span of a decoded record is found, such as the id of an order."""
    is_newer: Callable[[bytes], bool] = _never
    """Whether a value that ``decode`` refuses is sound, and of a newer release: it is not set aside."""
    framing: Framing | None = None
    """The form of values that name their writer's schema; without one they are read as they are."""
    letters: "Schema | None" = None
    """The schema of dead letters of such values, where they can be framed; see ``model.dead_letters``."""


def _bytes(value: bytes) -> bytes:
    return value


RAW_SCHEMA: Final = Schema("raw", _bytes, _bytes)
CHANGELOG_SCHEMA: Final = Schema("changelog", _bytes, _bytes)
REGISTER_SCHEMA: Final = Schema("register", _bytes, _bytes)
TEXT_SCHEMA: Final = Schema("text", bytes.decode, str.encode)
"""UTF-8."""


class CoPartitionGroup:
    """Topics with the same number of partitions, so that a key lies on the same partition number in each.

    The number is the deployment's. Whoever connects to a cluster reads it there before the first key is placed (see
    ``kafka.partition_counts``), and works with it until the process ends.
    """

    def __init__(self, name: str, partitions: int = DEFAULT_PARTITIONS) -> None:
        self.name = name
        self.partitions = partitions
        """The default until the cluster has been asked."""

    def __repr__(self) -> str:
        return f"<co-partition group {self.name}: {self.partitions}>"


Partitioning = int | CoPartitionGroup
"""A number of a topic's own, or that of its group."""


class _PartitionCount:
    """The field of a topic that takes a ``Partitioning`` and is read as the number that holds now."""

    @overload
    def __get__(self, topic: None, owner: type) -> Partitioning: ...
    @overload
    def __get__(self, topic: "Topic", owner: type) -> int: ...
    def __get__(self, topic: "Topic | None", owner: type) -> Partitioning:
        if topic is None:
            return DEFAULT_PARTITIONS
        found = topic.partitioning
        return found if isinstance(found, int) else found.partitions

    def __set__(self, topic: "Topic", value: Partitioning) -> None:
        topic.__dict__["partitions"] = value


@dataclass(frozen=True)
class Topic:
    """A topic. ``key`` says what its records are keyed by, for the reader. ``retention_ms`` -1: for ever.

    ``partitions`` is declared as a number or as a group, and read as a number.
    """

    name: str
    key: str = "key"
    schema: Schema = RAW_SCHEMA
    owner: str = ""
    partitions: _PartitionCount = _PartitionCount()
    cleanup: Cleanup = "delete"
    retention_ms: int = 7 * DAY_MS
    purpose: str = ""
    config: tuple[tuple[str, str], ...] = field(default=())
    compatibility: Compatibility = "FULL_TRANSITIVE"
    """BACKWARD_TRANSITIVE where readers are released before writers anyway, or wait for a version that they lack."""
    also_written_by: tuple[str, ...] = ()
    """Services that write it beside its owner."""

    @property
    def writers(self) -> tuple[str, ...]:
        """The owner first."""
        return (self.owner, *self.also_written_by)

    def __hash__(self) -> int:
        return hash(self.name)  # topics are keys of what is declared before the cluster is asked

    @property
    def partitioning(self) -> Partitioning:
        """As declared: the topic's own number, or its group."""
        declared: Partitioning = self.__dict__["partitions"]
        return declared

    @property
    def group(self) -> CoPartitionGroup | None:
        """The group whose number of partitions the topic has; None where the number is its own."""
        return None if isinstance(self.partitioning, int) else self.partitioning

    @property
    def dead_letters(self) -> str:
        """Name of the topic that takes this topic's poison messages."""
        return f"{self.name}.dlq"

    @property
    def dead_letter_topic(self) -> "Topic":
        """The topic of that name: a poison message is set aside on the partition that it came from."""
        return Topic(
            self.dead_letters,
            self.key,
            self.schema.letters or RAW_SCHEMA,
            self.owner,
            self.partitioning,
            retention_ms=DEAD_LETTER_RETENTION_MS,
            purpose=f"what of {self.name} could not be handled",
        )

    @property
    def holds_state(self) -> bool:
        """Whether a stage is restored from it: rows of it must never be lost, deletions included."""
        return self.schema is CHANGELOG_SCHEMA or self.schema is REGISTER_SCHEMA


def changelog_topic(app: str, stage: str, partitions: Partitioning = DEFAULT_PARTITIONS) -> Topic:
    """The changelog of a stage. It has as many partitions as the stage's inputs."""
    return Topic(
        f"{app}.{stage}.changelog",
        "table/key, or position/topic",
        CHANGELOG_SCHEMA,
        app,
        partitions,
        cleanup="compact",
        retention_ms=-1,
        purpose=f"rows and input positions of stage {app}.{stage}",
    )


def register_topic(name: str = "streams.stages") -> Topic:
    """The register of every stage on a cluster; the first stage that starts there creates it."""
    return Topic(
        name,
        "stage.partition",
        REGISTER_SCHEMA,
        "every service with a stage",
        partitions=1,
        cleanup="compact",
        retention_ms=-1,
        purpose="stages' partitions that were ever worked on, and the identity of the changelog then; numbers of "
        "partitions of co-partition groups",
    )
