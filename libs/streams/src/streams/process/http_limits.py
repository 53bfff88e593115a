"""Limits of one server on its clients."""

import resource
from dataclasses import dataclass
from typing import Final

DEFAULT_HOSTS: Final = "localhost,127.0.0.1,[::1]"
FILES_SHARE: Final = 0.5
"""Share of the files a process may open: the rest is for its broker, database and stores."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds of every connection and of all of them. Times are in seconds."""

    hosts: tuple[str, ...] = tuple(DEFAULT_HOSTS.split(","))
    """Names that ``Host`` may hold, without a port."""
    connections_max: int = 4_096
    address_share: float = 0.8
    """Share of the connections that one address may hold."""
    head_bytes_max: int = 16_384
    """Request line and headers."""
    headers_max: int = 100
    target_bytes_max: int = 8_192
    head_timeout_s: float = 10.0
    """From the connection, or the first byte of a request, to the end of its headers."""
    body_timeout_s: float = 10.0
    """From the end of the headers to the end of the body."""
    idle_timeout_s: float = 30.0
    """Between requests."""
    stall_timeout_s: float = 10.0
    """A client that does not read its answer for so long is cut off."""

    @property
    def connections(self) -> int:
        """How many there may be now: the limit of open files can be lowered while a process runs."""
        files_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if files_max == resource.RLIM_INFINITY:
            return self.connections_max
        return max(1, min(self.connections_max, int(files_max * FILES_SHARE)))

    @property
    def address_connections(self) -> int:
        return max(1, int(self.connections * self.address_share))
