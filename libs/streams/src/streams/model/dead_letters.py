"""Dead letters: what a stage could not handle, with where it stood and why.

In the text form a dead letter is the message's own value, and the context stands in headers. Framed, it is one record
that holds both, which any program reads that reads the topic's schema.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, TypeAdapter, WithJsonSchema

from streams.model.framing import Framing
from streams.model.log import Record
from streams.model.message import Headers, Message

ERROR_CHARS_MAX: Final = 4_000
CONTEXT: Final = ("stage", "topic", "partition", "offset", "error")
"""Fields that are headers in the text form: ``dlq.stage`` and so on."""
TOPIC_HEADER: Final = "dlq.topic"
LEFT_OUT_HEADER: Final = "dlq.value"
"""Header of a letter without its message's value: how much was left out."""


def _bytes_of(value: Any) -> Any:
    """Raises ValueError for text that is no base64."""
    return b64decode(value, validate=True) if isinstance(value, str) else value


Base64 = Annotated[
    bytes,
    BeforeValidator(_bytes_of),
    PlainSerializer(lambda value: b64encode(value).decode(), when_used="json-unless-none"),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]
"""Bytes, which JSON has in base64."""


class DeadLetter(BaseModel):
    """A message that a stage could not handle. Key and headers are the message's own; its partition is, too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str = Field(description="the stage that set it aside")
    topic: str = Field(description="where it stood")
    partition: int = Field(ge=0)
    offset: int = Field(ge=0)
    error: str = Field(description="why it could not be handled")
    value: Base64 | None = Field(default=None, description="as it was written; absent where the message had none")
    left_out_bytes: int | None = Field(
        default=None, ge=0, description="size of a value that is not here since the topic does not take it"
    )

    @property
    def place(self) -> tuple[int, int]:
        """Partition and offset of the message."""
        return self.partition, self.offset


LETTER: Final = TypeAdapter(DeadLetter)


def encode_letter(letter: DeadLetter) -> bytes:
    return letter.model_dump_json(exclude_none=True).encode()


def letter_record(
    letter: DeadLetter, key: bytes | None, timestamp_ms: int, headers: Headers, framing: Framing | None
) -> Record:
    """The letter as it is written, in the text form where there is no framing. ``headers`` are the message's own."""
    if framing is not None:
        return Record(key, framing.framed(encode_letter(letter)), timestamp_ms, headers)
    return Record(key, letter.value, timestamp_ms, [*headers, *_text_headers(letter)])


def _text_headers(letter: DeadLetter) -> Iterator[tuple[str, bytes]]:
    """The context, as headers of a letter in the text form."""
    for name in CONTEXT:
        yield f"dlq.{name}", str(getattr(letter, name)).encode()
    if letter.left_out_bytes is not None:
        yield LEFT_OUT_HEADER, b"left out: %d bytes" % letter.left_out_bytes


def is_text_letter(headers: Headers) -> bool:
    """Whether these are headers of a dead letter in the text form, whose value may look like anything."""
    return any(name == TOPIC_HEADER for name, _ in headers)


def letter_of(message: Message) -> DeadLetter:
    """The letter in either form. Raises ValueError for a record that no stage has written."""
    if not is_text_letter(message.headers):
        letter = message.body
        if not isinstance(letter, DeadLetter):
            raise ValueError(f"no header {TOPIC_HEADER}")
        return letter
    said = {name.removeprefix("dlq."): (text or b"").decode("utf-8", "replace") for name, text in message.headers}
    context: dict[str, str] = {name: said[name] for name in CONTEXT if name in said}
    left_out = dict(message.headers).get(LEFT_OUT_HEADER)
    if left_out is not None:
        context["left_out_bytes"] = left_out.decode().removeprefix("left out: ").removesuffix(" bytes")
    return DeadLetter.model_validate({**context, "value": message.value})
