"""One push process: what is started and stopped together."""

import asyncio
import signal

from streams.service.frame import Frame
from streams.service.operations import Health

from push.service import PushService
from push.settings import PushSettings
from push.web import build_web
from push.websocket import DroppableProtocol


class PushProcess:
    """The service, its web server and its health report, started and stopped together."""

    def __init__(self, settings: PushSettings) -> None:
        self._health = Health("push")
        self.service = PushService(settings)
        self.service.add_checks(self._health)
        self._frame = Frame(
            "push",
            settings,
            self._health,
            build_web(self.service, settings, self._health),
            ws=DroppableProtocol,
            ws_max_size=settings.message_bytes_max,
            ws_per_message_deflate=False,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            ws_ping_interval=settings.ping_interval_s,
            ws_ping_timeout=settings.pong_timeout_s,
            timeout_graceful_shutdown=5,
        )

    @property
    def port(self) -> int:
        return self._frame.port

    async def start(self) -> None:
        """Returns when requests are accepted; Redis may come later. Raises OSError where the port is taken."""
        await self.service.start()
        await self._frame.start()

    async def stop(self) -> None:
        await self._frame.stop()
        await self.service.stop()


async def run(settings: PushSettings) -> None:
    """Serves until SIGTERM or SIGINT; an error of ours ends the process, so that its supervisor starts a sound one."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    process = PushProcess(settings)
    await process.start()
    stopping = asyncio.create_task(stop.wait())
    failing = asyncio.create_task(process.service.feed.ended())
    await asyncio.wait((stopping, failing), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    await process.stop()
    await failing
