"""While no broker answers, a process asks for all of its clients at once, less and less often, and says so each time.

A worker holds a dozen clients: one for each stage and projection, producers, the group's members, Faust's own. Each of
them would connect again many times a second by itself, and log every attempt. ``watch_brokers`` makes every aiokafka
client of the process wait until a broker has been found.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import collect_hosts
from aiokafka.errors import KafkaError

from streams.kafka.internals import ClientMethods
from streams.kafka.security import client_security
from streams.process.backoff import Backoff
from streams.process.logs import get_logger

_log = get_logger(__name__)
KNOCK_INTERVAL_S: Final = 1.0
KNOCK_TIMEOUT_S: Final = 1.0
ANSWER_TIMEOUT_MS: Final = 5_000
UNDERSTOOD_BY: Final = "TIDEMARK_KAFKA_CA_FILE, TIDEMARK_KAFKA_SASL_MECHANISM"


class BrokerWatch:
    """Whether any broker answers, as one event loop sees it."""

    def __init__(self, bootstrap: str, backoff_min_s: float, backoff_max_s: float) -> None:
        self.answers = asyncio.Event()
        self.answers.set()
        self._bootstrap = bootstrap
        self._backoff = Backoff(backoff_min_s, backoff_max_s)
        self._calm_s = backoff_max_s
        self._changed_s = 0.0
        self._searching: asyncio.Task[None] | None = None

    async def until(self, attempt: Callable[[], Awaitable[bool]]) -> None:
        """Repeats an attempt to reach any broker until it succeeds; between them a broker has to be found."""
        while True:
            await self.answers.wait()
            if await attempt():
                return
            self._lose()

    def _lose(self) -> None:
        if not self.answers.is_set():
            return
        now_s = time.monotonic()
        if now_s - self._changed_s > self._calm_s:  # one that comes and goes is still the same trouble
            self._backoff.reset()
        self._changed_s = now_s
        self.answers.clear()
        self._searching = asyncio.create_task(self._search(), name="broker watch")

    async def _search(self) -> None:
        found = is_open = False
        while not found:
            delay_s = self._backoff.next()
            # A broker that wants TLS or a name closes the connection without a word about it.
            hint = {"hint": f"a port is open, and nobody there understands us: {UNDERSTOOD_BY}"} if is_open else {}
            self._say("broker_away", for_s=self._since_change_s(), retry_in_s=delay_s, **hint)
            await self._wait_or_hear(delay_s)
            found = await self._is_found()
            is_open = not found and await self._any_open()
        self._say("broker_back", after_s=self._since_change_s())
        self._changed_s = time.monotonic()
        self.answers.set()

    async def _is_found(self) -> bool:
        """Whether a broker tells who belongs to the cluster."""
        client = AIOKafkaClient(
            bootstrap_servers=self._bootstrap, request_timeout_ms=ANSWER_TIMEOUT_MS, **client_security()
        )
        try:
            await ClientMethods.bootstrap(client)
        except (KafkaError, OSError, TimeoutError):
            return False
        finally:
            await client.close()
        return True

    async def _wait_or_hear(self, delay_s: float) -> None:
        """Waits; ends early where every broker's port was closed and one opens. A knock is a connection, no more."""
        until_s = time.monotonic() + delay_s
        was_open = await self._any_open()
        while (left_s := until_s - time.monotonic()) > KNOCK_INTERVAL_S:
            await asyncio.sleep(KNOCK_INTERVAL_S)
            is_open = await self._any_open()
            if is_open and not was_open:
                return
            was_open = is_open
        await asyncio.sleep(max(0.0, left_s))

    async def _any_open(self) -> bool:
        for host, port, _family in collect_hosts(self._bootstrap):
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(KNOCK_TIMEOUT_S):
                    _, writer = await asyncio.open_connection(host, port)
                writer.close()
                return True
        return False

    def _since_change_s(self) -> float:
        return round(time.monotonic() - self._changed_s, 1)

    def _say(self, event: str, **facts: Any) -> None:
        """Faust runs its consumer in a thread with a loop of its own; the main thread speaks for both."""
        if threading.current_thread() is threading.main_thread():
            _log.warning(event, brokers=self._bootstrap, **facts)


_watches: "WeakKeyDictionary[asyncio.AbstractEventLoop, BrokerWatch]" = WeakKeyDictionary()


async def broker_answers() -> None:
    """Waits while it is known that no broker answers. Where the process does not watch, nothing is known."""
    watch = _watches.get(asyncio.get_running_loop())
    if watch is not None:
        await watch.answers.wait()


def is_broker_away() -> bool:
    """Whether the running loop has found that no broker answers."""
    watch = _watches.get(asyncio.get_running_loop())
    return watch is not None and not watch.answers.is_set()


def watch_brokers(bootstrap: str, backoff_min_s: float, backoff_max_s: float) -> None:
    """Lets every aiokafka client of this process wait while no broker answers. For workers, before they connect.

    aiokafka reaches for a broker in three places: it connects to a bootstrap address, asks for metadata, or connects to
    a node. The first two fail where no broker at all answers; the third is left until one does.
    """

    def current() -> BrokerWatch:
        return _watches.setdefault(asyncio.get_running_loop(), BrokerWatch(bootstrap, backoff_min_s, backoff_max_s))

    async def patient_bootstrap(self: AIOKafkaClient) -> None:
        async def attempt() -> bool:
            try:
                await ClientMethods.bootstrap(self)
            except (KafkaError, OSError):
                return False
            return True

        await current().until(attempt)

    async def patient_update(self: AIOKafkaClient, cluster: Any, topics: Any) -> bool:
        async def attempt() -> bool:
            try:
                return await ClientMethods.update(self, cluster, topics)
            except (OSError, RuntimeError):
                # uvloop's for a connection that is closed and was not noticed to be yet. It would end the client's task
                # for metadata, for good.
                return False

        await current().until(attempt)
        return True

    async def patient_connect(self: AIOKafkaClient, node_id: Any, **options: Any) -> Any:
        await broker_answers()
        return await ClientMethods.connect(self, node_id, **options)

    ClientMethods.replace(patient_bootstrap, patient_update, patient_connect)
