"""Views for people: what services write to Redis after the commit, and push reads.

How they are written, and how a reader knows that it has missed one, is the protocol of ``view_protocol``.

| name      | scope        | key               | data (JSON)                                                | writer  |
|-----------|--------------|-------------------|------------------------------------------------------------|---------|
| quote     | partition    | symbol            | QuoteData                                                  | signals |
| book      | symbol       | ``depth``         | BookData                                                   | signals |
| bar       | symbol:window_ns | window_start_ns | BarData (the newest 600 windows; the last may be open)   | signals |
| alert     | partition    | symbol:kind:begin_ns | AlertData (the newest 64 of a partition)              | signals |
| account   | account_id   | ``account``       | AccountData                                                | risk    |
| order     | account_id   | order_id          | contracts.events.OrderEvent (open; the newest 200 closed)  | orders  |
| fill      | account_id   | execution_id      | contracts.events.ExecutionReport (TRADE; the newest 200)   | orders  |
| break     | account_id   | break_id          | contracts.breaks.ExecutionBreak (open ones)                | risk    |
| health    | service      | worker id         | HealthData                                                 | all     |
"""

from typing import Final

from streams.views.protocol import VIEW_PREFIX as VIEW_PREFIX
from streams.views.protocol import WRITER_VIEW as WRITER_VIEW
from streams.views.protocol import Envelope as Envelope
from streams.views.protocol import HealthData as HealthData
from streams.views.protocol import RedisState as RedisState
from streams.views.protocol import Stamps as Stamps
from streams.views.protocol import ViewModel as ViewModel
from streams.views.protocol import WriterData as WriterData
from streams.views.protocol import view_channel as view_channel

BARS_RETAINED: Final = 600
FILLS_RETAINED: Final = 200
CLOSED_ORDERS_RETAINED: Final = 200
CONFLATED_VIEWS: Final = frozenset({"quote", "book", "bar", "alert", "account", "health"})
"""Newest value per key is enough; every other view reaches the client whole and in order."""
VIEW_WRITERS: Final = {
    "quote": "signals.market",
    "book": "signals.market",
    "bar": "signals.market",
    "alert": "signals.market",
    "account": "risk.gate",
    "break": "risk.gate",
    "order": "orders.lifecycle",
    "fill": "orders.lifecycle",
}
"""Writer of each view: ``{service}.{stage}``, the scope of its ``WriterData``."""
CLOCKED_WRITERS: Final = frozenset({"signals.market"})
"""Writers whose input carries a clock that never stands still: ingest sends heartbeats to every partition."""


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


class AlertData(ViewModel):
    """The newest row of an alert (``contracts.alerts.ALERT``)."""

    symbol: str
    kind: str
    severity: str
    phase: str
    begin_ns: int
    peak_ns: int
    end_ns: int
    """0: it goes on."""
    peak_ppm: int
    threshold_ppm: int
    numbers: dict[str, int]
    """Numbers compared at the peak, by the names of the columns."""


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
