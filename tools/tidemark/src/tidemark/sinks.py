"""Writes rows of a topic into an installed sink (``common.sinks``)."""

from collections.abc import Mapping, Sequence

from common.sinks import Sink, SinkKind, SinkUnavailable, installed_sink
from streams.model.message import Message

from tidemark.console import CommandError
from tidemark.tabular import Decoder


def named_values(options: Sequence[str]) -> dict[str, str]:
    """``name=value`` options. Raises CommandError."""
    given = dict[str, str]()
    for option in options:
        name, equals, value = option.partition("=")
        if not equals:
            raise CommandError(f"--option {option!r} is not name=value")
        given[name] = value
    return given


def chosen_sink(name: str, options: Sequence[str]) -> tuple[SinkKind, Mapping[str, str]]:
    """The sink and its options. Raises CommandError."""
    given = named_values(options)
    try:
        return installed_sink(name, given), given
    except SinkUnavailable as error:
        raise CommandError(str(error)) from error


class SinkWriter:
    """Gives a sink what it does not have yet, with the positions behind it."""

    def __init__(self, decoder: Decoder, sink: Sink) -> None:
        self._decoder = decoder
        self._sink = sink
        self._positions = dict(sink.positions())

    def write(self, messages: Sequence[Message]) -> int:
        """Returns the rows that were new."""
        fresh = [message for message in messages if message.offset >= self._positions.get(message.partition, 0)]
        if not fresh:
            return 0
        rows = list(self._decoder.rows(fresh))
        for message in fresh:
            self._positions[message.partition] = message.offset + 1
        self._sink.write(rows, self._positions)
        return len(rows)

    def close(self) -> None:
        self._sink.close()
