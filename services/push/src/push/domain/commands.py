"""Commands of a client: six small messages, checked before anything is done with them."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

TOPICS_PER_COMMAND_MAX: Final = 200
CREDENTIAL_CHARS_MAX: Final = 8_192
SAMPLES_PER_COMMAND_MAX: Final = 500


class CommandError(ValueError):
    """The message is no command; the text says why, for the client."""


class _Command(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Authenticate(_Command):
    """The first message of a browser, which cannot send a header; again before its token ends. Answered with ``me``."""

    op: Literal["authenticate"]
    token: str = Field(max_length=CREDENTIAL_CHARS_MAX, repr=False)


class Subscribe(_Command):
    """A snapshot of each topic follows, then its changes."""

    op: Literal["subscribe"]
    topics: list[str] = Field(min_length=1, max_length=TOPICS_PER_COMMAND_MAX)


class Unsubscribe(_Command):
    op: Literal["unsubscribe"]
    topics: list[str] = Field(min_length=1, max_length=TOPICS_PER_COMMAND_MAX)


class Resync(_Command):
    """The client saw a gap in the topic's numbers."""

    op: Literal["resync"]
    topic: str


class Ping(_Command):
    """Answered at once with the same ``t`` and the server's time."""

    op: Literal["ping"]
    t: float


PaintedSample = tuple[
    Annotated[int, Field(ge=0)],
    Annotated[int, Field(ge=0)],
    Annotated[int, Field(ge=0)],
    Annotated[str, Field(max_length=16)],
    Annotated[str, Field(max_length=64)],
]
"""origin_ns, committed_ns, painted_ns (the server's clock), view, traceparent (may be empty)."""


class Painted(_Command):
    """When changes were on the screen."""

    op: Literal["painted"]
    samples: list[PaintedSample] = Field(max_length=SAMPLES_PER_COMMAND_MAX)


Command = Authenticate | Subscribe | Unsubscribe | Resync | Ping | Painted
_COMMAND: Final[TypeAdapter[Command]] = TypeAdapter(Annotated[Command, Field(discriminator="op")])


def parse_command(text: str | bytes) -> Command:
    """Decodes one message of a client. Raises CommandError with the first thing that is wrong."""
    try:
        return _COMMAND.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "message"
        raise CommandError(f"{place}: {first['msg']}") from None
