"""Frame of every process, with stages or none: its web servers and its row in the health view."""

from functools import partial
from typing import Any

from fastapi import FastAPI

from streams.process.certificates import RenewedContext
from streams.process.logs import get_logger
from streams.process.settings import HttpSettings, Settings
from streams.service.health import HealthReporter
from streams.service.http.door import Door
from streams.service.operations import OPERATORS_PAGES, Health
from streams.service.web import WebServer

_log = get_logger(__name__)


class Frame:
    """Plain asyncio. Pages for operators are the application's to include; ``options`` are ``WebServer``'s.

    With ``operations.port`` those pages are answered there and nowhere else, and nothing else is there: with limits of
    its own, so that whoever takes all connections of the other port keeps nobody from looking how the service is.
    """

    def __init__(self, service: str, settings: Settings, health: Health, web: FastAPI, **options: Any) -> None:
        http, operations = settings.http, settings.operations
        limits, tls = http.limits(), _tls(http)
        self._operations: WebServer | None = None
        if operations.port is not None:
            host = operations.host or http.host
            # The application's life is the other server's to begin and to end.
            only = partial(Door, paths=OPERATORS_PAGES, shut=False)
            self._operations = WebServer(web, host, operations.port, limits, only, lifespan="off", **tls)
            options = {"door": partial(Door, paths=OPERATORS_PAGES, shut=True), **options}
        self._server = WebServer(web, http.host, http.port, limits, **{**tls, **options})
        self._host = http.host
        self._reporter = HealthReporter(service, settings, health) if settings.redis.url else None

    @property
    def port(self) -> int:
        """Port that accepts requests: known once it has been started where any free one was asked for."""
        return self._server.port

    @property
    def operations_port(self) -> int:
        """Port of the pages for operators; ``port`` where they have none of their own."""
        return self._operations.port if self._operations else self.port

    async def start(self) -> None:
        """Returns when requests are accepted. Raises OSError where a port is taken."""
        await self._server.start()
        if self._operations:
            await self._operations.start()
        _log.info("web_open", host=self._host, port=self.port, operations_port=self.operations_port)
        if self._reporter:
            self._reporter.start()

    async def stop(self) -> None:
        """Finishes open requests, then closes."""
        if self._reporter:
            await self._reporter.stop()
        if self._operations:
            await self._operations.stop()
        await self._server.stop()


def _tls(http: HttpSettings) -> dict[str, Any]:
    """Options of a server that speaks TLS; none where no certificate is set."""
    certificate = http.certificate_file
    if certificate is None:
        return {}
    files = (certificate, http.key_file or certificate)
    return {
        "ssl_certfile": files[0],
        "ssl_keyfile": files[1],
        "ssl_context_factory": lambda _config, make: RenewedContext.of(files, make, server=True),
    }
