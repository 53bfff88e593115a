"""Puts the lapse of a lease on the log where nobody keeps it: for the partitions whose lifecycle runs in this process.

Whoever serves a partition next sees its leases in the same rows. So a lapse is noticed whichever process dies: push and
a browser are not asked at all, and another worker of orders counts the grace anew.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

import mode
from common.contracts.leases import LeaseLapsed
from common.contracts.topics import ORDERS_INTENTS, ORDERS_LEASES
from prometheus_client import Counter
from streams.model.errors import LogError
from streams.model.tables import Tables
from streams.process.logs import get_logger
from streams.state.store_errors import StoreError

from orders.desk import Ends, Sends
from orders.domain.leases import LeaseWatch
from orders.leases import held

_log = get_logger(__name__)
LOOK_S: Final = 0.5
LAPSES = Counter("tidemark_orders_leases_lapsed_total", "Leases that nobody kept, as often as that was put on the log")


class Lapses(mode.Service):  # type: ignore[misc]
    """``served``: committed rows of the lifecycle's partitions here; ``hears``: whether holders can be heard now."""

    def __init__(
        self,
        served: Callable[[], Iterable[Tables]],
        hears: Callable[[], bool],
        sender: Sends,
        ends: Ends,
        now_s: Callable[[], float] = time.monotonic,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__()
        self._served = served
        self._hears = hears
        self._sender = sender
        self._ends = ends
        self._now_s = now_s
        self._clock_ns = clock_ns
        self._watch: LeaseWatch[tuple[str, str]] = LeaseWatch()

    @mode.Service.task  # type: ignore[untyped-decorator]
    async def _run(self) -> None:
        while not self.should_stop:
            await self.look()
            await self.sleep(LOOK_S)

    async def look(self) -> None:
        """Notices each overdue lease. Where nobody can be heard, nobody is overdue."""
        if not self._hears():
            return
        try:
            leases = {key: lease for tables in self._served() for key, lease in held(tables).items()}
        except StoreError as error:  # the stage meets it, too, and opens the partition anew
            _log.error("leases_unreadable", error=str(error))
            return
        overdue = self._watch.look(leases, self._now_s())
        await asyncio.gather(*(self._lapse(*key, kept_offset) for key, kept_offset in overdue))

    async def _lapse(self, account_id: str, lease_id: str, kept_offset: int) -> None:
        key = account_id.encode()
        try:
            end = await self._ends.end(ORDERS_INTENTS, key)
            lapsed = LeaseLapsed(
                account_id=account_id,
                lease_id=lease_id,
                kept_offset=kept_offset,
                intents_offset=end,
                sent_ns=self._clock_ns(),
            )
            await self._sender.send(ORDERS_LEASES, key, lapsed)
        except LogError as error:  # noticed again in a moment
            _log.warning("lapse_not_written", account_id=account_id, lease_id=lease_id, error=str(error))
            return
        LAPSES.inc()
        _log.info("lease_lapsed", account_id=account_id, lease_id=lease_id, kept_offset=kept_offset)
