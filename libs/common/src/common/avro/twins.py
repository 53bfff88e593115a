"""The framed form of twins (``common.contracts.twins``): Avro to a twin and back, without the JSON between them.

What it reads was written with the schema that this release writes; everything else is for the general codec. What it
writes are the general codec's bytes (``tests/common/test_twins.py``).
"""

import io
from typing import Any, Final

import fastavro
import msgspec
from streams.model.framing import HEADER_BYTES, MAGIC, frame

from common.avro.codec import AvroFraming
from common.contracts.topics import Topic
from common.contracts.twins import reader_of

_to_datum: Final = msgspec.to_builtins
_convert: Final = msgspec.convert


class TwinFraming:
    """The framed form of one record of a topic as a twin."""

    def __init__(self, framing: AvroFraming, twin: type[Any]) -> None:
        self._framing = framing
        self._twin = twin
        self._header = b""

    @property
    def header(self) -> bytes:
        """The first bytes of values of the schema that this release writes."""
        if not self._header:
            self._header = frame(self._framing.codec.id, b"")
        return self._header

    def read(self, value: bytes) -> Any:
        """Raises ValueError where it is not of this schema, damaged, or no such twin."""
        if not value.startswith(self.header):
            raise ValueError("it was written with another schema")
        body = io.BytesIO(value)
        body.seek(HEADER_BYTES)
        try:
            datum = fastavro.schemaless_reader(body, self._framing.codec.parsed, None)
        except Exception as error:  # fastavro raises whatever the bytes bring it to
            raise ValueError(f"no record: {error!r}") from error
        if body.tell() != len(value):
            raise ValueError("bytes follow the record")
        return _convert(datum, self._twin)

    def write(self, twin: Any) -> bytes:
        """Framed."""
        codec, body = self._framing.codec, io.BytesIO()
        fastavro.schemaless_writer(body, codec.parsed, codec.branch(_to_datum(twin)))
        return self.header + body.getvalue()


class TwinReader:
    """Values of a topic as twins, text and framed."""

    def __init__(self, topic: Topic, twin: type[Any]) -> None:
        framing = topic.schema.framing
        assert isinstance(framing, AvroFraming)
        self._framing = framing
        self.framed: Final = TwinFraming(framing, twin)
        """The framed form."""
        self._text = reader_of(twin)

    @property
    def schema_id(self) -> int:
        """Id of the schema whose framed values are read here."""
        return self._framing.codec.id

    def read(self, value: bytes | None) -> Any | None:
        """None where it is to be read, or refused, by the topic's schema."""
        if value is None:
            return None
        try:
            return self.framed.read(value) if value[:1] == MAGIC else self._text(value)
        except ValueError:
            return None
