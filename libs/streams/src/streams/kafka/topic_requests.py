"""The requests about topics' settings: what they are, and to set some of them."""

import struct
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import NamedTuple, Self

from streams.kafka.protocol import NO_TAGS, Cursor, Request, compact, compact_array

TOPIC = b"\x02"
BROKER = b"\x04"


class TopicSettings(NamedTuple):
    """DescribeConfigs v4: topic → setting → value. Topics that the broker does not show are left out."""

    error: int
    settings: dict[str, dict[str, str]]

    @classmethod
    def decode(cls, response: BytesIO) -> Self:
        cursor = Cursor(response.read())
        cursor.read(_I32)
        first_error, found = 0, {}
        for _ in range(cursor.length()):
            (error,) = cursor.read(_I16)
            cursor.text()
            cursor.read(_I8)
            topic = cursor.text()
            values = {}
            for _ in range(max(cursor.length(), 0)):
                name, value = cursor.text(), cursor.text()
                cursor.read(_FLAGS)
                for _ in range(max(cursor.length(), 0)):  # synonyms
                    cursor.text()
                    cursor.text()
                    cursor.read(_I8)
                    cursor.tags()
                cursor.read(_I8)
                cursor.text()
                cursor.tags()
                values[name] = value
            cursor.tags()
            if error:
                first_error = first_error or error
            else:
                found[topic] = values
        return cls(first_error, found)


class DescribeConfigs(Request):
    """Asks for every setting of topics, whether it was given to the topic or comes from the broker."""

    API_KEY = 32
    RESPONSE_TYPE = TopicSettings

    def __init__(self, topics: Iterable[str]) -> None:
        all_of_them = b"\x00"
        resources = [TOPIC + compact(topic) + all_of_them + NO_TAGS for topic in topics]
        super().__init__(4, compact_array(resources) + b"\x00\x00" + NO_TAGS)


class Altered(NamedTuple):
    """IncrementalAlterConfigs v1: topic → (error code, the broker's words), of those that were not set."""

    refused: dict[str, tuple[int, str]]

    @classmethod
    def decode(cls, response: BytesIO) -> Self:
        cursor = Cursor(response.read())
        cursor.read(_I32)
        refused = {}
        for _ in range(cursor.length()):
            (error,) = cursor.read(_I16)
            message = cursor.text()
            cursor.read(_I8)
            topic = cursor.text()
            cursor.tags()
            if error:
                refused[topic] = (error, message)
        return cls(refused)


class AlterConfigs(Request):
    """Sets the named settings of topics, or of brokers, and leaves all others as they are (KIP-339)."""

    API_KEY = 44
    RESPONSE_TYPE = Altered

    def __init__(self, settings: Mapping[str, Mapping[str, str]], resource: bytes = TOPIC) -> None:
        """``resource``: kind of what the names in ``settings`` are of, ``TOPIC`` or ``BROKER``."""
        resources = []
        for named, values in settings.items():
            rows = [compact(name) + _SET + compact(value) + NO_TAGS for name, value in values.items()]
            resources.append(resource + compact(named) + compact_array(rows) + NO_TAGS)
        super().__init__(1, compact_array(resources) + b"\x00" + NO_TAGS)


_SET = b"\x00"
_I8 = struct.Struct(">b")
_I16 = struct.Struct(">h")
_I32 = struct.Struct(">i")
_FLAGS = struct.Struct(">?b?")
"""Read-only; where the value comes from; sensitive."""
