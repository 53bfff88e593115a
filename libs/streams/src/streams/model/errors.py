"""Errors of the log, in a few words. ``kafka.py`` translates its client's errors into these once; services
never see a client library's errors.
"""

from collections.abc import Mapping
from typing import Any


class LogError(Exception):
    """Base of the translated errors."""


class Fenced(LogError):
    """A newer owner of the transactional id exists (or the broker timed our transaction out): write nothing more."""


class Retriable(LogError):
    """The attempt failed or its outcome is unknown. Close, fence, restore, and continue from what the log says."""


class TooLarge(Retriable):
    """A record alone makes a batch of ``size_bytes``, and the broker takes none as large for the topic it is for.

    ``ends`` is what ``Producer.commit`` would have returned of the partitions that had taken what was theirs. All of
    it belongs to a transaction that has to be aborted, after which the producer can go on.
    """

    def __init__(self, where: tuple[str, int], size_bytes: int, ends: Mapping[Any, int]) -> None:
        topic, number = where
        super().__init__(f"{topic}/{number} takes no record batch of {size_bytes} bytes; see its max.message.bytes")
        self.where = where
        self.size_bytes = size_bytes
        self.ends = ends


class Fatal(LogError):
    """Retrying cannot help: a missing topic, a wrong partition count, a broken log."""


class Refused(Fatal):
    """The store or position of a partition and the log do not belong together: nothing may be read or written there.

    An operator has to say which of the two is right; meanwhile the partition stands still and others are served.
    ``remedy`` is the command of ``tidemark stage`` that helps, with what only it needs.
    """

    def __init__(self, message: str, remedy: str = "show") -> None:
        super().__init__(message)
        self.remedy = remedy


class Newer(Refused):
    """A newer release has written the state, or an input that this one would set aside.

    A worker of that release may serve the partition, this one must not.
    """
