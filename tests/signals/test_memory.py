"""Memory of a market by the hours that it has seen: what is remembered is bounded by counts, not by time."""

import numpy as np
from common.contracts.ticks import TICK, TickFlag, TickKind, Ticks
from common.testing.market_flow import SESSION_NS, directory, tick_array
from signals.domain.market import MarketState

S = 1_000_000_000
SYMBOLS = 8
SECONDS = 900
TRADES_MAX = 1 << 10


def quarter(number: int) -> Ticks:
    """In each second every symbol has an order that enters and leaves, and a trade; then a heartbeat."""
    kinds = (TickKind.ADD, TickKind.DELETE, TickKind.TRADE)
    ticks = np.zeros((SECONDS, len(kinds) * SYMBOLS + 1), TICK)
    seconds = number * SECONDS + np.arange(SECONDS)
    ticks["event_ns"] = (SESSION_NS + seconds * S)[:, None] + np.arange(ticks.shape[1])
    messages = ticks[:, :-1].reshape(SECONDS, SYMBOLS, len(kinds))
    refs = 1 + seconds[:, None] * SYMBOLS + np.arange(SYMBOLS)
    messages["kind"], messages["instrument_id"] = kinds, np.arange(SYMBOLS)[:, None]
    messages["order_ref"], messages["aux_ref"] = refs[..., None], refs[..., None]
    messages["side"], messages["qty"], messages["price_e4"] = ord("B"), 100, 1_000_000
    messages["flags"][..., 2] = int(TickFlag.PRINTABLE)
    beats = ticks[:, -1]
    beats["kind"], beats["instrument_id"] = TickKind.HEARTBEAT, -1
    told = ticks.reshape(-1)
    is_message = told["kind"] != TickKind.HEARTBEAT
    told["sequence"][is_message] = 1_000 + number * is_message.sum() + np.arange(is_message.sum())
    told.flags.writeable = False
    return told


def test_market_when_quarters_of_an_hour_pass_then_no_array_grows_and_the_log_of_trades_stays_at_its_bound() -> None:
    market = MarketState((S,), trades_max=TRADES_MAX)
    market.apply(tick_array(directory([f"SYM{number}" for number in range(SYMBOLS)])), 1)
    sizes = []
    for number in range(4):
        issued = market.apply(quarter(number), 1).bars
        assert len(issued) >= (SECONDS - 5) * SYMBOLS
        sizes.append({name: len(array) for name, array in market.arrays().items()})
    assert sizes[1] == sizes[2] == sizes[3]
    assert sizes[-1]["bars.log"] == TRADES_MAX
    assert len(market.showcase.rows) > 0
