"""TLS of clients and servers whose certificates are files that may change while they run."""

import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

from streams.process.logs import get_logger

_log = get_logger(__name__)


class RenewedContext(ssl.SSLContext):
    """Context for whoever keeps one (servers, clients that reconnect): each connection has the files as they are.

    Only what asyncio and uvloop ask of a context is answered from the files. Of files that do not fit together, as
    while they are being replaced, nothing is taken: the ones before serve on, and the next connection looks again.
    """

    _make: Callable[[], ssl.SSLContext]
    _files: Sequence[Path]
    _current: ssl.SSLContext
    _seen: list[tuple[int, int, int]]

    @classmethod
    def of(cls, files: Sequence[Path], make: Callable[[], ssl.SSLContext], *, server: bool = False) -> "RenewedContext":
        """``make`` reads ``files``. Raises what it raises, OSError where a file is not there."""
        context = cls(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context._files, context._make = files, make
        context._seen = context._stamps()
        context._current = make()
        return context

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """As the base class, by a context that was made from the files as they are."""
        self._look()
        return self._current.wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def _look(self) -> None:
        try:
            stamps = self._stamps()
            if stamps != self._seen:
                self._current, self._seen = self._make(), stamps
                _log.info("certificate_renewed", files=[str(each) for each in self._files])
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            _log.error("certificate_unusable", files=[str(each) for each in self._files], error=type(error).__name__)

    def _stamps(self) -> list[tuple[int, int, int]]:
        found = [path.stat() for path in self._files]
        return [(stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in found]
