"""Rows of the views in Redis, and whether who writes them can be expected to have written all of them."""

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from common.contracts.events import CASH, ExecutionReport, OrderEvent
from common.contracts.views import AccountData, Envelope, HealthData, view_channel
from common.ledger.fold import Balance, nonzero
from common.ledger.rows import execution_row, order_row
from redis.asyncio import Redis
from redis.exceptions import RedisError

from auditor.domain.compare import Kind, Look, Seen
from auditor.domain.place import Place

STORE = "redis"
WRITER: Final[dict[str, str]] = {Kind.ACCOUNT: "risk", Kind.ORDER: "orders", Kind.EXECUTION: "orders"}
FRESH_NS: Final = 3_000_000_000
SCAN_KEYS: Final = 1_000


class Calm:
    """Whether a service has been up and unchanged for long enough to have written every view.

    A service that has not been calm for ``excuse_max_s`` is expected to have written its views all the same: one that
    restarts for ever, or is gone, excuses nothing.
    """

    def __init__(self, calm_s: float, excuse_max_s: float = 60.0) -> None:
        self._calm_s = calm_s
        self._excuse_max_s = excuse_max_s
        self._restless_since_s: float | None = None
        self._state: dict[str, tuple[int, bool, bool]] | None = None
        self._since_s = float("-inf")
        self.is_calm = False

    def take(self, health: Iterable[Envelope], now_ns: int, now_s: float) -> None:
        """Takes the last word of the service's workers about themselves."""
        state = {}
        for envelope in health:
            data = HealthData.model_validate(envelope.data)
            state[data.worker] = (envelope.epoch, now_ns - data.at_ns < FRESH_NS, data.ready)
        if state != self._state:
            if self._state is not None:
                self._since_s = now_s
            self._state = state
        up = [ready for _, fresh, ready in state.values() if fresh]
        self._conclude(bool(up) and all(up) and now_s - self._since_s >= self._calm_s, now_s)

    def disturb(self, now_s: float) -> None:
        """Redis was away."""
        self._since_s = now_s
        self._conclude(False, now_s)

    def _conclude(self, is_calm: bool, now_s: float) -> None:
        if is_calm:
            self._restless_since_s = None
        elif self._restless_since_s is None:
            self._restless_since_s = now_s
        since_s = self._restless_since_s
        self.is_calm = is_calm or (since_s is not None and now_s - since_s >= self._excuse_max_s)


class ViewRows:
    """Keeps the client, which it closes, and how far the walk through the names is."""

    def __init__(self, redis: Redis, calm_s: float, excuse_max_s: float, grace_s: float) -> None:
        self._redis = redis
        self._calm = {kind: Calm(calm_s, excuse_max_s) for kind in WRITER}
        self._statuses = StatusWatch(grace_s)
        self._cursor = 0

    async def close(self) -> None:
        await self._redis.aclose()

    async def look(
        self,
        accounts: Iterable[str],
        orders: Iterable[tuple[str, str, bool]],
        fills: Iterable[tuple[str, str]],
        known: Callable[[str], bool],
        status_of: Callable[[str], str | None],
    ) -> Look:
        """``orders`` are id, account and whether the view must have it; ``fills`` execution id and account. Raises
        OSError where Redis does not answer.
        """
        now_s = time.monotonic()
        try:
            await self._look_at_writers(now_s)
            names = {*accounts, *await self._strangers(known)}
            rows = await self._accounts(list(names), status_of, now_s)
            rows += await self._orders(list(orders))
            rows += await self._fills(list(fills))
        except (RedisError, OSError) as error:
            for calm in self._calm.values():
                calm.disturb(now_s)
            raise OSError(f"Redis gave no answer: {error}") from error
        return Look(STORE, rows, self._reached)

    def _reached(self, kind: str, place: Place) -> bool | None:
        """A view has no position; while its writer is calm it may be expected to be there in a while."""
        return None if self._calm[kind].is_calm else False

    async def _look_at_writers(self, now_s: float) -> None:
        for kind, service in WRITER.items():
            health = await self._redis.hvals(view_channel("health", service))
            self._calm[kind].take([Envelope.model_validate_json(value) for value in health], time.time_ns(), now_s)

    async def _strangers(self, known: Callable[[str], bool]) -> list[str]:
        self._cursor, channels = await self._redis.scan(
            self._cursor, match=view_channel("account", "*"), count=SCAN_KEYS
        )
        prefix = view_channel("account", "")
        names = [name.decode().removeprefix(prefix) for name in channels if isinstance(name, bytes)]
        return [name for name in names if not known(name)]

    async def _accounts(self, keys: list[str], status_of: Callable[[str], str | None], now_s: float) -> list[Seen]:
        values = await self._values([(view_channel("account", key), "account") for key in keys])
        seen = []
        for key, value in zip(keys, values, strict=True):
            row, status = _account(key, value)
            wrong = self._statuses.take(key, status, status_of(key), now_s) if self._calm[Kind.ACCOUNT].is_calm else ""
            seen.append(Seen(Kind.ACCOUNT, key, row.version, wrong) if wrong else row)
        return seen

    async def _fills(self, fills: list[tuple[str, str]]) -> list[Seen]:
        values = await self._values([(view_channel("fill", account), key) for key, account in fills])
        return [_fill(key, value) for (key, _), value in zip(fills, values, strict=True)]

    async def _orders(self, orders: list[tuple[str, str, bool]]) -> list[Seen]:
        values = await self._values([(view_channel("order", account), key) for key, account, _ in orders])
        return [_order(key, value, required) for (key, _, required), value in zip(orders, values, strict=True)]

    async def _values(self, places: list[tuple[str, str]]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for channel, key in places:
                pipe.hget(channel, key)
            return await pipe.execute() if places else []


class StatusWatch:
    """A view of an account does not say at which change its status stands: a wrong one may stand still for a while."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._wrong: dict[str, tuple[str, str, float]] = {}

    def take(self, key: str, status: str, truth: str | None, now_s: float) -> str:
        """Difference, once it is no longer excused; empty otherwise."""
        if truth is None or not status or status == truth:
            self._wrong.pop(key, None)
            return ""
        shown, known, since_s = self._wrong.setdefault(key, (status, truth, now_s))
        if (shown, known) != (status, truth):
            self._wrong[key] = (status, truth, now_s)
            return ""
        return f"status is {status}, the log says {truth}" if now_s - since_s >= self._grace_s else ""


def _account(key: str, value: bytes | None) -> tuple[Seen, str]:
    """The balance and the status. A view that cannot be read is wrong at any version."""
    if value is None:
        return Seen(Kind.ACCOUNT, key, 0, None), ""
    try:
        data = AccountData.model_validate(Envelope.model_validate_json(value).data)
    except ValueError as error:
        return Seen(Kind.ACCOUNT, key, 0, f"cannot be read: {str(error).splitlines()[0]}"), ""
    if data.account_id != key:
        return Seen(Kind.ACCOUNT, key, 0, f"is of account {data.account_id}"), ""
    available: dict[str, int] = {CASH: data.cash_e4 - data.reserved_cash_e4}
    reserved: dict[str, int] = {CASH: data.reserved_cash_e4}
    for position in data.positions:
        available[position.symbol] = position.qty - position.reserved_qty
        reserved[position.symbol] = position.reserved_qty
    return Seen(Kind.ACCOUNT, key, data.seq, Balance(data.seq, nonzero(available), nonzero(reserved))), data.status


def _order(key: str, value: bytes | None, required: bool) -> Seen:
    if value is None:
        return Seen(Kind.ORDER, key, 0, None, required)
    try:
        order = OrderEvent.model_validate(Envelope.model_validate_json(value).data)
    except ValueError as error:
        return Seen(Kind.ORDER, key, 0, f"cannot be read: {str(error).splitlines()[0]}", required)
    if order.order_id != key:
        return Seen(Kind.ORDER, key, 0, f"is of order {order.order_id}", required)
    return Seen(Kind.ORDER, key, order.revision, order_row(order), required)


def _fill(key: str, value: bytes | None) -> Seen:
    if value is None:
        return Seen(Kind.EXECUTION, key, 0, None)
    try:
        report = ExecutionReport.model_validate(Envelope.model_validate_json(value).data)
    except ValueError as error:
        return Seen(Kind.EXECUTION, key, 0, f"cannot be read: {str(error).splitlines()[0]}")
    if report.execution_id != key:
        return Seen(Kind.EXECUTION, key, 0, f"is of execution {report.execution_id}")
    return Seen(Kind.EXECUTION, key, 1, execution_row(report))
