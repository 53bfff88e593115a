"""One look after another: which rows to ask for, the stores side by side, and what came of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from streams.process.logs import get_logger
from streams.state.store import live_tables
from streams.views.redis_client import redis_client

from auditor import gate, metrics, projection, views
from auditor.domain.compare import Comparer, Kind, Look
from auditor.domain.place import Positions
from auditor.files import FleetFiles
from auditor.gate import GateStores
from auditor.projection import Asked, ProjectionRows
from auditor.settings import AuditorSettings
from auditor.truth import LogTruth
from auditor.views import ViewRows

_log = get_logger(__name__)
LOG: Final = "log"
STORES: Final = (LOG, gate.STORE, projection.STORE, views.STORE)


@dataclass(slots=True)
class Verdict:
    """Result of the last completed look."""

    divergent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STORES, 0))
    """Store → rows, files or faults."""
    texts: tuple[str, ...] = ()
    """The same in words, the log's own faults first."""
    unreadable: dict[str, str] = field(default_factory=dict)
    breaks_open: int = 0
    """Reports that the books refuse, and nobody has resolved yet."""
    looked_ns: int = 0
    looks: int = 0

    @property
    def total(self) -> int:
        return sum(self.divergent.values())


class Sweep:
    """Walks through keys again and again, so many at a time."""

    def __init__(self) -> None:
        self._left: Iterator[str] = iter(())

    def next(self, keys: Iterable[str], count: int) -> list[str]:
        """The next keys of the round; a new round begins with the keys there are then."""
        page = list(islice(self._left, count))
        if len(page) < count:
            self._left = iter(list(keys))
            seen = set(page)
            page += [key for key in islice(self._left, count - len(page)) if key not in seen]
        return page


class Watch:
    """The stores, the comparer and the verdict."""

    def __init__(self, settings: AuditorSettings, truth: LogTruth, scratch: Path) -> None:
        self._settings = settings
        self._truth = truth
        self._comparer = Comparer(truth.folds, truth.place, settings.audit.grace_s, settings.audit.excuse_max_s)
        self._files = FleetFiles(
            settings.data_dir,
            settings.audit.files_interval_s,
            settings.audit.file_bytes_max,
            live_tables,
        )
        self._gate = GateStores(settings.data_dir, scratch)
        self._projection = ProjectionRows(
            settings.postgres.dsn.get_secret_value(), truth, settings.audit.written_bytes_max
        )
        redis = redis_client(settings.redis.url, socket_connect_timeout=2, socket_timeout=5)
        self._views = ViewRows(redis, settings.audit.calm_s, settings.audit.excuse_max_s, settings.audit.grace_s)
        self._account_sweep, self._order_sweep, self._execution_sweep = Sweep(), Sweep(), Sweep()
        self._said: frozenset[str] = frozenset()
        self._began_s: float | None = None
        self.verdict = Verdict()

    async def close(self) -> None:
        self._gate.close()
        await self._projection.close()
        await self._views.close()

    async def look(self, ends: Callable[[], Awaitable[Positions]]) -> None:
        """Looks at every store once. Raises what ``ends``, which asks the log, raises."""
        began = time.monotonic()
        looks, unreadable = await self._read()
        known_ends = await ends()
        now_s = time.monotonic()
        if self._began_s is None:
            self._began_s = now_s
        self._comparer.settle(self._truth.positions)
        for look in looks:
            self._comparer.take(look, known_ends, now_s)
        # Only once the gate's stores are read: their heads are compared with what the log comes to.
        self._expect_heads()
        self._conclude(unreadable, known_ends)
        metrics.LOOK_SECONDS.observe(time.monotonic() - began)

    async def _read(self) -> tuple[list[Look], dict[str, str]]:
        truth, comparer, haste = self._truth, self._comparer, self._projection.haste
        most = haste * self._settings.audit.rows_max
        accounts = {*_take(truth.changed_accounts, most), *self._account_sweep.next(truth.accounts.known(), most)}
        orders = {*_take(truth.changed_orders, most), *self._order_sweep.next(truth.orders.known(), most)}
        executions = {*_take(truth.executions.changed, most)}
        executions |= {*self._execution_sweep.next(truth.executions.known(), most)}

        def wanted(store: str, kind: str, keys: set[str]) -> set[str]:
            return keys | comparer.again(store, kind)

        shown = [
            (key, truth.orders.account_of(key), not truth.orders.has_ended(key))
            for key in wanted(views.STORE, Kind.ORDER, orders)
            if truth.orders.newest(key)
        ]
        answers: dict[str, Awaitable[Look]] = {
            gate.STORE: asyncio.to_thread(self._look_at_disk, wanted(gate.STORE, Kind.ACCOUNT, accounts)),
            projection.STORE: self._projection.look(
                Asked(
                    wanted(projection.STORE, Kind.ACCOUNT, accounts) | comparer.again(projection.STORE, Kind.STATUS),
                    wanted(projection.STORE, Kind.ORDER, orders) | comparer.again(projection.STORE, Kind.HISTORY),
                    wanted(projection.STORE, Kind.EXECUTION, executions),
                    most,
                    haste * self._settings.audit.walk_rows_max,
                )
            ),
            views.STORE: self._views.look(
                wanted(views.STORE, Kind.ACCOUNT, accounts),
                shown,
                self._fills_shown(wanted(views.STORE, Kind.EXECUTION, executions)),
                self._known,
                truth.statuses.now,
            ),
        }
        results = await asyncio.gather(*answers.values(), return_exceptions=True)
        looks, unreadable = [], {}
        for store, result in zip(answers, results, strict=True):
            if isinstance(result, Look):
                looks.append(result)
            elif isinstance(result, OSError):
                comparer.clear(store)
                unreadable[store] = str(result)
            else:
                raise result
        return looks, unreadable

    def _known(self, account_id: str) -> bool:
        return account_id in self._truth.accounts.accounts

    def _fills_shown(self, executions: set[str]) -> list[tuple[str, str]]:
        """Execution id and account of those that the view of their account must have."""
        truth = self._truth.executions
        shown: dict[str, set[str]] = {}
        found = []
        for key in executions:
            account = truth.account_of(key)
            if account not in shown:
                shown[account] = set(truth.shown(account))
            if key in shown[account]:
                found.append((key, account))
        return found

    def _look_at_disk(self, accounts: set[str]) -> Look:
        """In a thread: the fold stands still meanwhile."""
        self._files.look()
        places = self._truth.accounts.places
        partitions: dict[int, list[str]] = {}
        for key in accounts & places.keys():
            partitions.setdefault(places[key].partition, []).append(key)
        return self._gate.look(
            lambda number: partitions.get(number, ()),
            self._known,
            self._files.begun,
            self._settings.audit.rows_max,
        )

    def _expect_heads(self) -> None:
        for partition, head in self._gate.heads():
            try:
                self._truth.chain.expect(partition, head)
            except ValueError as error:
                self._comparer.divergent[gate.STORE, Kind.ACCOUNT, f"chain of {partition}"] = str(error)

    def _conclude(self, unreadable: dict[str, str], ends: Positions) -> None:
        truth, comparer = self._truth, self._comparer
        damaged = {**self._files.damaged(), **self._gate.unreadable}
        overdue, late = truth.matched.overdue(
            time.monotonic(), self._settings.audit.fill_max_s, self._began_s or time.monotonic()
        )
        faults = [*truth.faults(), *late]
        counts = comparer.by_store(STORES)
        counts[gate.STORE] += len(damaged)
        counts[LOG] = len(faults) + overdue - len(late)
        texts = [f"{LOG}: {text}" for text in faults]
        texts += [f"{gate.STORE}: {text}" for text in damaged.values()]
        texts += [f"{store} {kind} {key}: {text}" for (store, kind, key), text in comparer.divergent.items()]
        breaks_open = len(truth.matched.open_breaks)
        self.verdict = Verdict(counts, tuple(texts), unreadable, breaks_open, time.time_ns(), self.verdict.looks + 1)
        metrics.BREAKS_OPEN.set(breaks_open)
        metrics.FILLS_OVERDUE.set(overdue)
        self._say(frozenset(texts))
        for store in STORES:
            metrics.DIVERGENCE.labels(store).set(counts[store])
            metrics.UNREADABLE.labels(store).set(store in unreadable)
        metrics.ROWS.inc(comparer.take_compared())
        metrics.LEDGER_SUM.set(truth.accounts.ledger_sum_e4)
        metrics.LAG.set(sum(max(0, end - truth.positions.get(place, 0)) for place, end in ends.items()))
        metrics.LOOKED_AT.set(self.verdict.looked_ns / 1e9)

    def _say(self, texts: frozenset[str]) -> None:
        """Logs what differs now and did not at the last look, and the other way round."""
        for text in sorted(texts - self._said):
            _log.error("divergence", what=text)
        for text in sorted(self._said - texts):
            _log.info("divergence_gone", what=text)
        self._said = texts


def _take(keys: set[str], most: int) -> list[str]:
    """Takes so many keys out of the set."""
    return [keys.pop() for _ in range(min(most, len(keys)))]
