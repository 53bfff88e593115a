"""Values that name their writer's schema: Confluent's wire format, a zero byte and an id of four bytes before the body.

A topic whose schema has a framing is read in both forms, as text or framed. Handlers see text, whoever wrote: what is
framed is turned into it where records are read (``streams.state.framed_reader``), so that a value has one meaning.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol

from streams.process.settings import Settings

MAGIC: Final = b"\0"
HEADER_BYTES: Final = 5
NO_ID: Final = bytes(4)
LogFormat = Literal["json", "avro"]


class SchemaUnknown(Exception):
    """A value names a schema that cannot be had now, or says what only a newer release can read.

    Such a value is sound as far as anybody knows: it waits, and is never set aside.
    """

    def __init__(self, schema_id: int, reason: str) -> None:
        super().__init__(f"schema {schema_id}: {reason}")
        self.schema_id = schema_id


class NewerSchema(SchemaUnknown):
    """The schema is known, and what it says can only be read by a newer release: there is nobody to ask."""


class Framing(Protocol):
    """The framed form of a topic's values."""

    def text(self, value: bytes) -> bytes:
        """A framed value as text. Raises SchemaUnknown; ValueError where it is damaged or of another topic."""
        ...

    def framed(self, text: bytes) -> bytes:
        """Text, as the topic's schema writes it, in the framed form. Raises ValueError where it is none."""
        ...

    def records(self, key: bytes, text: bytes) -> Sequence[tuple[bytes, bytes]]:
        """Keys and framed values of what text under a key becomes: packed rows become a record each."""
        ...

    async def learn(self, schema_id: int, settings: Settings) -> None:
        """Asks where schemas can be had. Raises SchemaUnknown where none has this one, or nobody answers."""
        ...


class Unframed(bytes):
    """Text that was made of a framed value, which it keeps."""

    framed: bytes

    @classmethod
    def of(cls, text: bytes, framed: bytes) -> "Unframed":
        made = cls(text)
        made.framed = framed
        return made


def as_written(value: bytes | None) -> bytes | None:
    """The value as it stands in the log."""
    return value.framed if isinstance(value, Unframed) else value


def is_framed(value: bytes | None) -> bool:
    """Whether the value begins with a zero byte and an id. JSON begins otherwise, and ids, as rows may not, with 1."""
    return value is not None and len(value) > HEADER_BYTES and value[0] == 0 and value[1:HEADER_BYTES] != NO_ID


def frame(schema_id: int, body: bytes) -> bytes:
    """The body behind its header."""
    return MAGIC + schema_id.to_bytes(4, "big") + body


def schema_id_of(framed: bytes) -> int:
    """The id in the header."""
    return int.from_bytes(framed[1:HEADER_BYTES], "big")


Encoder = Callable[[Any], bytes]
Framed = Mapping[str, Framing]
"""Topic → how its values are framed; topics whose values are written as text are not in it."""
TEXT: Final[Framed] = {}


class Encodes(Protocol):
    """A topic's schema, as far as it is asked for here."""

    @property
    def encode(self) -> Encoder: ...
    @property
    def framing(self) -> Framing | None: ...


class Described(Protocol):
    """A topic, as far as it is asked for here."""

    @property
    def name(self) -> str: ...
    @property
    def schema(self) -> Encodes: ...


def framed_topics(topics: Iterable[Described], log_format: LogFormat) -> Framed:
    """Those of ``topics`` that are written framed in this format."""
    if log_format == "json":
        return TEXT
    return {topic.name: topic.schema.framing for topic in topics if topic.schema.framing is not None}


def encoder_of(topic: Described, framed: Framed) -> Encoder:
    """Encoder of the topic's bodies; a body that is framed already stays as it is."""
    encode, framing = topic.schema.encode, framed.get(topic.name)
    return encode if framing is None else lambda body: value_of(encode(body), framing)


def value_of(encoded: bytes, framing: Framing) -> bytes:
    """Value of what the schema has encoded: framed, unless a writer's own encoder has framed it."""
    return encoded if is_framed(encoded) else framing.framed(encoded)
