"""Views for people: what services write to Redis after the commit, and push reads.

A view has a name and a scope; both together name one Redis hash (the snapshot: key → envelope) and one Pub/Sub channel
(the deltas: envelopes), ``tm:{name}:{scope}``. Exactly one task publishes a scope, so its ``seq`` is gapless within an
``epoch`` (the publisher's opening time). A subscriber that sees ``prev`` other than its last ``seq``, or another epoch,
reads the snapshot again.

| name      | scope        | key               | data (JSON)                                                | writer  |
|-----------|--------------|-------------------|------------------------------------------------------------|---------|
| quote     | partition    | symbol            | QuoteData                                                  | signals |
| book      | symbol       | ``depth``         | BookData                                                   | signals |
| bar       | symbol:window_ns | window_start_ns | BarData (the newest 600 windows; the last may be open)   | signals |
| account   | account_id   | ``account``       | AccountData                                                | risk    |
| order     | account_id   | order_id          | contracts.events.OrderEvent (open; the newest 200 closed)  | orders  |
| fill      | account_id   | execution_id      | contracts.events.ExecutionReport (TRADE; the newest 200)   | orders  |
| break     | account_id   | break_id          | contracts.breaks.ExecutionBreak (open ones)                | risk    |
| health    | service      | worker id         | HealthData                                                 | all     |

Beside the views each writer says how current they are: ``tm:writer:{service}.{stage}``, a hash (key: partition) and a
channel of ``WriterData``. Its ``epoch`` stands in Redis: where it is missing or another one, Redis has lost what was
written, and the writer fills it anew.
"""

from enum import StrEnum
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

VIEW_PREFIX: Final = "tm"
BARS_RETAINED: Final = 600
FILLS_RETAINED: Final = 200
CLOSED_ORDERS_RETAINED: Final = 200
CONFLATED_VIEWS: Final = frozenset({"quote", "book", "bar", "account", "health"})
"""Newest value per key is enough; every other view reaches the client whole and in order."""
WRITER_VIEW: Final = "writer"
VIEW_WRITERS: Final = {
    "quote": "signals.market",
    "book": "signals.market",
    "bar": "signals.market",
    "account": "risk.gate",
    "break": "risk.gate",
    "order": "orders.lifecycle",
    "fill": "orders.lifecycle",
}
"""Who writes a view: ``{service}.{stage}``, the scope of its ``WriterData``."""
CLOCKED_WRITERS: Final = frozenset({"signals.market"})
"""Writers whose input carries a clock that never stands still: ingest sends heartbeats to every partition."""


class RedisState(StrEnum):
    """What Redis does with what is written to it."""

    OK = "ok"
    FULL = "full"
    """``maxmemory`` is reached, and writes are refused."""
    READ_ONLY = "read-only"
    EVICTING = "evicting"
    """``maxmemory`` is reached, and Redis throws rows away."""
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


class ViewModel(BaseModel):
    model_config = ConfigDict(frozen=True)


class QuoteData(ViewModel):
    symbol: str
    bid_e4: int
    bid_size: int
    ask_e4: int
    ask_size: int
    last_e4: int
    open_e4: int
    """First print of the session; 0 before it."""
    volume: int
    trading_state: str
    event_ns: int


class BookData(ViewModel):
    symbol: str
    bids: tuple[tuple[int, int], ...]
    """(price_e4, size), best first, at most ten."""
    asks: tuple[tuple[int, int], ...]
    event_ns: int


class BarData(ViewModel):
    symbol: str
    window_start_ns: int
    window_ns: int
    open_e4: int
    high_e4: int
    low_e4: int
    close_e4: int
    volume: int
    trades: int
    notional_e4: int
    vwap_e4: int
    revision: int
    closed: bool


class PositionData(ViewModel):
    symbol: str
    qty: int
    reserved_qty: int


class AccountData(ViewModel):
    account_id: str
    status: str
    cash_e4: int
    """Total cash; of it ``reserved_cash_e4`` is held for open orders."""
    reserved_cash_e4: int
    positions: tuple[PositionData, ...]
    seq: int
    """Ledger sequence of the account at this state."""


class HealthData(ViewModel):
    service: str
    worker: str
    ready: bool
    detail: dict[str, Any]
    """Counters and latencies for the health strip; numbers and short strings only."""
    at_ns: int


class WriterData(ViewModel):
    """How current the views of one partition of a writer are."""

    v: Literal[1] = 1
    writer: str
    """``{service}.{stage}``."""
    partition: int
    partitions: int
    """How many partitions the stage has."""
    epoch: int
    """When the views were last written as a whole, wall-clock ns; only ever higher."""
    state: Literal["filling", "live"]
    """``filling``: not every row is in Redis yet."""
    as_of_ns: int
    """Everything that reached the writer before is in Redis, unless it is ``filling``."""
    data_ns: int
    """Newest time of an input record that is in Redis; 0 before the first one."""
    redis: RedisState
    at_ns: int


class Stamps(ViewModel):
    """Wall-clock ns along the path of one message; 0 where it did not pass."""

    origin_ns: int = 0
    """Intended send time of the order, or ingest time of the tick frame."""
    processed_ns: int = 0
    committed_ns: int = 0


class Envelope(ViewModel):
    """What stands in the hash and goes over the channel. ``data`` None: the key is gone."""

    v: Literal[1] = 1
    name: str
    scope: str
    key: str
    epoch: int
    seq: int
    prev: int
    data: dict[str, Any] | None
    stamps: Stamps = Stamps()
    traceparent: str = ""


def view_channel(name: str, scope: str) -> str:
    """Redis name of the snapshot hash and of the Pub/Sub channel."""
    return f"{VIEW_PREFIX}:{name}:{scope}"
