"""The kernel of the bars: books trades into tumbling windows, closes windows by the partition's clock, restates bars.

Of each window length exactly one window is open: the one that holds the clock. A trade whose window has ended, and a
broken trade, restate a bar that was issued: it is folded anew from the log of trades, in which the trades of one
instrument are chained by event time. The log also tells the revision: every late trade and every late break was one.
"""

from typing import Final

from signals.domain import count
from signals.domain.ref_table import slot_of, vacate
from signals.kernels import kernel, part

NONE: Final = -1
STOP_DONE: Final = 0
"""All prints are booked and the clock is where it should be."""
STOP_ISSUED: Final = 1
"""The buffer of issued bars may not hold what comes next."""
STOP_TRADES: Final = 2
"""The log of trades is full."""


@part
def _issue(issued, counters, instrument, window_ns, start, tally, trades, revision):  # type: ignore[no-untyped-def]
    row = issued[counters[count.ISSUED]]
    counters[count.ISSUED] += 1
    counters[count.BARS] += 1
    row.instrument_id = instrument
    row.window_start_ns = start
    row.window_ns = window_ns
    row.open_e4 = tally.open_e4
    row.high_e4 = tally.high_e4
    row.low_e4 = tally.low_e4
    row.close_e4 = tally.close_e4
    row.volume = tally.volume
    row.notional_e4 = tally.notional_e4
    row.trades = trades
    row.revision = revision


@part
def _advance(clock_ns, windows, starts, tallies, counts, counters, issued):  # type: ignore[no-untyped-def]
    """Closes what has ended by ``clock_ns``: by end, then window length, then instrument."""
    while clock_ns >= counters[count.DUE_NS]:
        due = 0
        for w in range(1, len(windows)):
            end, due_end = starts[w] + windows[w], starts[due] + windows[due]
            if end < due_end or (end == due_end and windows[w] < windows[due]):
                due = w
        for instrument in range(counts.shape[1]):
            if counts[due, instrument]:
                tally = tallies[due, instrument]
                _issue(issued, counters, instrument, windows[due], starts[due], tally, counts[due, instrument], 0)
                counts[due, instrument] = 0
        starts[due] = clock_ns // windows[due] * windows[due]
        counters[count.DUE_NS] = starts[0] + windows[0]
        for w in range(1, len(windows)):
            counters[count.DUE_NS] = min(counters[count.DUE_NS], starts[w] + windows[w])


@part
def _add(tally, trades, trade):  # type: ignore[no-untyped-def]
    """Adds one trade to a tally of ``trades`` trades. First and last are by event time, then by arrival."""
    if trades == 0 or trade.event_ns < tally.first_ns:
        tally.first_ns = trade.event_ns
        tally.open_e4 = trade.price_e4
    if trades == 0 or trade.event_ns >= tally.last_ns:
        tally.last_ns = trade.event_ns
        tally.close_e4 = trade.price_e4
    tally.high_e4 = trade.price_e4 if trades == 0 else max(tally.high_e4, trade.price_e4)
    tally.low_e4 = trade.price_e4 if trades == 0 else min(tally.low_e4, trade.price_e4)
    tally.volume = trade.qty + (0 if trades == 0 else tally.volume)
    tally.notional_e4 = trade.price_e4 * trade.qty + (0 if trades == 0 else tally.notional_e4)


@part
def _newest(number, end, log, first):  # type: ignore[no-untyped-def]
    """The last trade before ``end`` in the chain of trade ``number``; NONE if the log no longer holds the way there."""
    mask = len(log) - 1
    newer = log[number & mask].newer
    while newer >= first and log[newer & mask].event_ns < end:
        number = newer
        newer = log[number & mask].newer
    return NONE if NONE < newer < first else number


@part
def _fold(tally, number, start, end, log, first):  # type: ignore[no-untyped-def]
    """Folds the trades of [start, end) into ``tally``, from ``number``, the newest of them, backwards.

    Returns (trades that stand, revision that the bar has now), or (NONE, 0) if the log no longer holds all of them.
    """
    mask = len(log) - 1
    trades, restatements, was_issued = 0, 0, False
    tally.first_ns = tally.last_ns = 0
    tally.open_e4 = tally.high_e4 = tally.low_e4 = tally.close_e4 = tally.volume = tally.notional_e4 = 0
    while number != NONE:
        if number < first:
            if log[first & mask].clock_ns >= start:
                return NONE, 0
            break  # whatever has left the log happened before
        trade = log[number & mask]
        if trade.event_ns < start:
            break
        restatements += (trade.clock_ns >= end) + (trade.broken_ns >= end)
        was_issued |= trade.clock_ns < end and (trade.broken_ns == 0 or trade.broken_ns >= end)
        if trade.broken_ns == 0:
            if trades == 0:
                tally.last_ns = trade.event_ns
                tally.close_e4 = trade.price_e4
            tally.first_ns = trade.event_ns
            tally.open_e4 = trade.price_e4
            tally.high_e4 = trade.price_e4 if trades == 0 else max(tally.high_e4, trade.price_e4)
            tally.low_e4 = trade.price_e4 if trades == 0 else min(tally.low_e4, trade.price_e4)
            tally.volume += trade.qty
            tally.notional_e4 += trade.price_e4 * trade.qty
            trades += 1
        number = trade.older
    return trades, restatements - (not was_issued)


@part
def _restate(w, number, windows, starts, tallies, counts, log, counters, scratch, issued):  # type: ignore[no-untyped-def]
    """Folds the bar of window length ``w`` that holds the trade: issued again if it had ended, else put right."""
    trade = log[number & (len(log) - 1)]
    instrument = trade.instrument_id
    start = trade.event_ns // windows[w] * windows[w]
    tally = scratch[0]
    first = counters[count.TRADES_FIRST]
    end = start + windows[w]
    newest = _newest(number, end, log, first)
    trades, revision = (NONE, 0) if newest == NONE else _fold(tally, newest, start, end, log, first)
    if trades == NONE:
        counters[count.LOST_RESTATEMENT] += 1
    elif start == starts[w]:
        tallies[w, instrument] = tally
        counts[w, instrument] = trades
    else:
        _issue(issued, counters, instrument, windows[w], start, tally, trades, revision)


@part
def _chain(number, trade, log, heads, first):  # type: ignore[no-untyped-def]
    """Puts a trade at its place in event time; it is the newest but for late ones."""
    mask = len(log) - 1
    newer, older = NONE, heads[trade.instrument_id]
    while older >= first and log[older & mask].event_ns > trade.event_ns:
        newer = older
        older = log[older & mask].older
    trade.newer, trade.older = newer, older
    if older >= first:
        log[older & mask].newer = number
    if newer == NONE:
        heads[trade.instrument_id] = number
    else:
        log[newer & mask].older = number


@part
def _book(event, heads, windows, starts, tallies, counts, log, matches, counters, scratch, issued):  # type: ignore[no-untyped-def]
    """Enters a trade into the log and into the bars."""
    number = counters[count.TRADES_NEXT]
    counters[count.TRADES_NEXT] += 1
    trade = log[number & (len(log) - 1)]
    trade.match = event.match
    trade.event_ns = event.event_ns
    trade.clock_ns = event.clock_ns
    trade.broken_ns = 0
    trade.price_e4 = event.price_e4
    trade.qty = event.qty
    trade.instrument_id = event.instrument_id
    _chain(number, trade, log, heads, counters[count.TRADES_FIRST])
    if event.match != 0:
        entry = matches[slot_of(matches, event.match)]
        counters[count.DUPLICATE_MATCH] += entry.held != 0
        entry.ref = event.match
        entry.held = number + 1
    late = 0
    for w in range(len(windows)):
        if event.event_ns >= starts[w]:
            _add(tallies[w, trade.instrument_id], counts[w, trade.instrument_id], trade)
            counts[w, trade.instrument_id] += 1
        else:
            late = 1
            _restate(w, number, windows, starts, tallies, counts, log, counters, scratch, issued)
    counters[count.LATE_TRADE] += late


@part
def _is_inside(trade, tally):  # type: ignore[no-untyped-def]
    """Whether a trade of an open window is none of its four prices, so that they stand without it."""
    is_inside_in_time = tally.first_ns < trade.event_ns < tally.last_ns
    return is_inside_in_time and tally.low_e4 < trade.price_e4 < tally.high_e4


@part
def _break(event, listings, windows, starts, tallies, counts, log, matches, counters, scratch, issued):  # type: ignore[no-untyped-def]
    """Takes a trade out of its bars and out of the session's volume."""
    entry = matches[slot_of(matches, event.match)]
    if entry.held == 0:
        counters[count.UNKNOWN_BREAK] += 1
        return
    number = entry.held - 1
    trade = log[number & (len(log) - 1)]
    if trade.broken_ns != 0:
        counters[count.UNKNOWN_BREAK] += 1
        return
    trade.broken_ns = max(1, event.clock_ns)
    listings[trade.instrument_id].volume -= trade.qty
    for w in range(len(windows)):
        tally = tallies[w, trade.instrument_id]
        if trade.event_ns >= starts[w] and _is_inside(trade, tally):
            tally.volume -= trade.qty
            tally.notional_e4 -= trade.price_e4 * trade.qty
            counts[w, trade.instrument_id] -= 1
        else:
            _restate(w, number, windows, starts, tallies, counts, log, counters, scratch, issued)


@kernel
def apply_prints(  # type: ignore[no-untyped-def]
    prints, at, clock_ns, listings, heads, windows, starts, tallies, counts, log, matches, counters, scratch, issued
):
    """Books prints from ``at`` on, then lets the clock come to ``clock_ns``.

    Returns (index of the first print that is not booked, why it came back).
    """
    room = len(issued) - (counts.size + len(windows))
    while at < len(prints):
        if counters[count.ISSUED] > room:
            return at, STOP_ISSUED
        if counters[count.TRADES_NEXT] - counters[count.TRADES_FIRST] == len(log):
            return at, STOP_TRADES
        event = prints[at]
        _advance(event.clock_ns, windows, starts, tallies, counts, counters, issued)
        if event.qty > 0:
            _book(event, heads, windows, starts, tallies, counts, log, matches, counters, scratch, issued)
        else:
            _break(event, listings, windows, starts, tallies, counts, log, matches, counters, scratch, issued)
        at += 1
    if counters[count.ISSUED] > room:
        return at, STOP_ISSUED
    _advance(clock_ns, windows, starts, tallies, counts, counters, issued)
    return at, STOP_DONE


@kernel
def forget_trades(log, matches, counters, trades):  # type: ignore[no-untyped-def]
    """Drops the oldest ``trades`` from the log; chains simply end where a number is below the oldest."""
    first = counters[count.TRADES_FIRST]
    for number in range(first, first + trades):
        match = log[number & (len(log) - 1)].match
        if match != 0:
            slot = slot_of(matches, match)
            if matches[slot].held == number + 1:
                vacate(matches, slot)
    counters[count.TRADES_FIRST] = first + trades
