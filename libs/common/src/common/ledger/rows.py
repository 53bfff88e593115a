"""Orders and executions as every copy of them must be, and their folds: an order's newest state, every execution."""

from collections.abc import Iterable
from sys import intern
from typing import Any, Final, NamedTuple

from common.contracts.breaks import BreakResolution, ExecutionBreak
from common.contracts.events import ExecType, ExecutionReport, OrderEvent, OrderState
from common.contracts.values import Side

ENDED: Final = frozenset(
    {OrderState.FILLED, OrderState.CANCELED, OrderState.REJECTED, OrderState.EXPIRED, OrderState.DENIED}
)


class OrderRow(NamedTuple):
    """Order as every copy must show it; a tuple, because there are hundreds of thousands."""

    account_id: str
    symbol: str
    side: str
    qty: int
    state: str
    cum_qty: int
    leaves_qty: int
    notional_e4: int
    client_order_id: str
    instrument_id: int | None
    order_type: str
    time_in_force: str
    limit_price_e4: int | None
    reason: str | None
    text: str
    sent_ns: int
    updated_ns: int
    decided_ns: int
    intent_offset: int
    min_qty: int | None
    expire_ns: int | None


class ExecutionRow(NamedTuple):
    """Execution as every copy must show it."""

    order_id: str
    account_id: str
    symbol: str
    side: str
    exec_type: str
    last_qty: int
    last_price_e4: int
    cum_qty: int
    leaves_qty: int
    venue_ns: int = 0
    text: str = ""
    ref_execution_id: str | None = None

    @property
    def body(self) -> "ExecutionRow":
        """The row without the time and the words of the venue: a report that is sent again may say other ones."""
        return self._replace(venue_ns=0, text="")

    @property
    def is_trade(self) -> bool:
        """Whether it says that shares were traded, at first or in the place of an earlier trade."""
        return self.exec_type in (ExecType.TRADE, ExecType.TRADE_CORRECT)

    @property
    def takes_back(self) -> bool:
        """Whether it says that an earlier trade does not stand."""
        return self.exec_type in (ExecType.TRADE_CANCEL, ExecType.TRADE_CORRECT)

    @property
    def shares(self) -> int:
        """Change of the account's position."""
        return self.last_qty if self.side == Side.BUY else -self.last_qty

    @property
    def cash_e4(self) -> int:
        """Change of the account's cash."""
        return -self.shares * self.last_price_e4


def order_row(event: OrderEvent) -> OrderRow:
    """The row of an event. Names that recur are kept once."""
    return OrderRow(
        intern(event.account_id),
        intern(event.symbol),
        event.side.value,
        event.qty,
        event.state.value,
        event.cum_qty,
        event.leaves_qty,
        event.notional_e4,
        event.client_order_id,
        event.instrument_id,
        event.order_type.value,
        event.time_in_force.value,
        event.limit_price_e4,
        event.reason.value if event.reason is not None else None,
        intern(event.text),
        event.sent_ns,
        event.updated_ns,
        event.decided_ns,
        event.intent_offset,
        event.min_qty,
        event.expire_ns,
    )


def execution_row(report: ExecutionReport) -> ExecutionRow:
    """The row of a report. Names that recur are kept once."""
    return ExecutionRow(
        report.order_id,
        intern(report.account_id),
        intern(report.symbol),
        report.side.value,
        report.exec_type.value,
        report.last_qty,
        report.last_price_e4,
        report.cum_qty,
        report.leaves_qty,
        report.venue_ns,
        intern(report.text),
        report.ref_execution_id,
    )


def stored_order(columns: Iterable[Any]) -> OrderRow:
    """The row of an order in PostgreSQL, from its columns in the order of ``OrderRow``. ``notional_e4`` is numeric."""
    values = [intern(value) if isinstance(value, str) else value for value in columns]
    row = OrderRow._make(values)
    return row._replace(notional_e4=int(row.notional_e4))


class OrderFold:
    """A ``Truth`` of orders, versioned by revision."""

    def __init__(self) -> None:
        self._newest: dict[str, tuple[int, OrderRow]] = {}
        self._wanted: dict[str, set[int]] = {}
        self._remembered: dict[tuple[str, int], OrderRow] = {}

    def apply(self, event: OrderEvent) -> None:
        """Takes one event; one that is older than what is known changes nothing."""
        if event.revision > self.newest(event.order_id):
            row = order_row(event)
            self._newest[event.order_id] = (event.revision, row)
            if event.revision in self._wanted.get(event.order_id, ()):
                self._remembered[event.order_id, event.revision] = row

    def has_ended(self, order_id: str) -> bool:
        """Whether nothing more can happen to it: views keep only the newest of these."""
        return self._newest[order_id][1].state in ENDED

    def want(self, key: str, version: int) -> None:
        if version > self.newest(key):
            self._wanted.setdefault(key, set()).add(version)

    def known(self) -> Iterable[str]:
        return self._newest.keys()

    def newest(self, key: str) -> int:
        known = self._newest.get(key)
        return known[0] if known is not None else 0

    def at(self, key: str, version: int) -> OrderRow | None:
        known = self._newest.get(key)
        if known is not None and known[0] == version:
            return known[1]
        return self._remembered.get((key, version))


def other_body(execution_id: str, number: int) -> str:
    """The key of a report under an id that was used with another body before."""
    return f"{execution_id} #{number}"


class ExecutionFold:
    """A ``Truth`` of execution reports; they never change, so the version is always 1.

    The first report under an id has the id as its key, one with another body ``other_body``.
    """

    def __init__(self) -> None:
        self.rows: dict[str, ExecutionRow] = {}
        """The first report under each id."""
        self._more: dict[str, list[ExecutionRow]] = {}
        self.of_orders: dict[tuple[str, str], ExecutionRow] = {}
        """The first report under each id of each order."""
        self.refers: dict[tuple[str, str], tuple[str, str]] = {}
        """The execution that a bust or a correction is about, by order and id."""
        self.others: dict[str, tuple[str, ExecutionRow]] = {}
        """Place of a report under an id that its order used with another body before: the id, and what it says."""
        self.places: dict[tuple[str, str], str] = {}
        """First place of each report that moves shares, ``{partition}-{offset}``, by its order and id."""

    def apply(self, report: ExecutionReport, place: str = "") -> None:
        row, key = execution_row(report), (report.order_id, report.execution_id)
        first = self.rows.setdefault(report.execution_id, row)
        if first is not row:
            more = self._more.get(report.execution_id, [])
            if any(row.body == known.body for known in (first, *more)):
                return  # sent again
            self._more[report.execution_id] = [*more, row]
        moves = row.is_trade or row.takes_back
        if self.of_orders.setdefault(key, row) is not row:
            if moves:
                self.others[place] = (report.execution_id, row)
            return
        if moves:
            self.places[key] = place
        if report.ref_execution_id is not None:
            self.refers[key] = (report.order_id, report.ref_execution_id)

    def want(self, key: str, version: int) -> None:
        pass  # every row is kept

    def keys_of(self, execution_id: str) -> Iterable[str]:
        """The keys of all reports under the id."""
        if execution_id in self.rows:
            yield execution_id
        for number in range(len(self._more.get(execution_id, ()))):
            yield other_body(execution_id, number + 1)

    def known(self) -> Iterable[str]:
        yield from self.rows
        for execution_id, more in self._more.items():
            yield from (other_body(execution_id, number) for number in range(1, len(more) + 1))

    def newest(self, key: str) -> int:
        return 1 if self.at(key, 1) is not None else 0

    def at(self, key: str, version: int) -> ExecutionRow | None:
        if key in self.rows:
            return self.rows[key]
        execution_id, _, number = key.rpartition(" #")
        more = self._more.get(execution_id, ())
        return more[int(number) - 1] if number.isdigit() and 0 < int(number) <= len(more) else None


class BreakFold:
    """The breaks of the log, and what operators have made of them."""

    def __init__(self) -> None:
        self.opened: dict[str, ExecutionBreak] = {}
        self.resolved: dict[str, BreakResolution] = {}
        """By the command that resolved it."""
        self._closed: set[str] = set()

    def apply(self, record: ExecutionBreak | BreakResolution) -> None:
        if isinstance(record, ExecutionBreak):
            self.opened[record.break_id] = record
        else:
            self.resolved[record.command_id] = record
            self._closed.add(record.break_id)

    @property
    def open(self) -> int:
        """How many wait for a person."""
        return len(self.opened.keys() - self._closed)
