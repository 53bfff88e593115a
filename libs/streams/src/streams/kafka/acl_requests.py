"""The request that makes access control lists, as many at a time as there are: aiokafka's makes one."""

import struct
from collections.abc import Iterable
from io import BytesIO
from typing import Final, NamedTuple, Self

from streams.kafka.protocol import NO_TAGS, Cursor, Request, compact, compact_array

EVERY_HOST: Final = "*"
_ALLOW: Final = 3
_I16: Final = struct.Struct(">h")
_I32: Final = struct.Struct(">i")


class AclsCreated(NamedTuple):
    """CreateAcls v2: error code and the broker's words for each list, in the order asked; 0 where it is made."""

    results: list[tuple[int, str]]

    @classmethod
    def decode(cls, response: BytesIO) -> Self:
        cursor = Cursor(response.read())
        cursor.read(_I32)
        results = []
        for _ in range(cursor.length()):
            (error,) = cursor.read(_I16)
            results.append((int(error), cursor.text()))
            cursor.tags()
        return cls(results)


class CreateAcls(Request):
    """Makes lists that allow something, from any host.

    Each is (kind of resource, its name, pattern, principal, operation), numbers as the protocol has them.
    """

    API_KEY = 30
    RESPONSE_TYPE = AclsCreated

    def __init__(self, acls: Iterable[tuple[int, str, int, str, int]]) -> None:
        rows = [
            bytes((resource,))
            + compact(name)
            + bytes((pattern,))
            + compact(principal)
            + compact(EVERY_HOST)
            + bytes((operation, _ALLOW))
            + NO_TAGS
            for resource, name, pattern, principal, operation in acls
        ]
        super().__init__(2, compact_array(rows) + NO_TAGS)
