"""Frame of every process, with stages or none: its web server and its row in the health view."""

from typing import Any

from fastapi import FastAPI

from streams.process.logs import get_logger
from streams.process.settings import Settings
from streams.service.health import HealthReporter
from streams.service.operations import Health
from streams.service.web import WebServer

_log = get_logger(__name__)


class Frame:
    """Plain asyncio. Pages for operators are the application's to include; ``options`` are ``WebServer``'s."""

    def __init__(self, service: str, settings: Settings, health: Health, web: FastAPI, **options: Any) -> None:
        if settings.http_certificate_file is not None:
            options = {
                "ssl_certfile": settings.http_certificate_file,
                "ssl_keyfile": settings.http_key_file or settings.http_certificate_file,
                **options,
            }
        self._server = WebServer(web, settings.http_host, settings.http_port, settings.http_limits(), **options)
        self._host = settings.http_host
        self._reporter = HealthReporter(service, settings, health) if settings.redis_url else None

    @property
    def port(self) -> int:
        """Port that accepts requests: known once it has been started where any free one was asked for."""
        return self._server.port

    async def start(self) -> None:
        """Returns when requests are accepted. Raises OSError where the port is taken."""
        await self._server.start()
        _log.info("web_open", host=self._host, port=self.port)
        if self._reporter:
            self._reporter.start()

    async def stop(self) -> None:
        """Finishes open requests, then closes."""
        if self._reporter:
            await self._reporter.stop()
        await self._server.stop()
