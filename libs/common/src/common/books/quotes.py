"""Parts of the kernel of the books: what each second of the clock ends with, for the instruments that it has named."""

from typing import Final

from common.books import count
from common.books.layout import Array, BookState, Row
from common.contracts.alerts import SLICE_NS
from common.contracts.ticks import TickKind
from common.kernels import part

_SYSTEM: Final = int(TickKind.SYSTEM_EVENT)
_HOURS_BEGIN: Final = ord("Q")
_HOURS_END: Final = (ord("M"), ord("E"), ord("C"))
"""Event codes of S: end of market hours, of system hours, of messages."""
_SECOND: Final = SLICE_NS


@part
def _write_quote(book: BookState, instrument: int, quotes: Array) -> None:
    counters = book.counters
    quote = quotes[counters[count.QUOTES]]
    counters[count.QUOTES] += 1
    quote.end_ns = counters[count.SECOND_ENDS_NS]
    quote.instrument_id = instrument
    quote.is_closed = counters[count.IS_CLOSED]
    if instrument >= 0:
        quote.bid_e4 = book.sides[2 * instrument].best_e4
        quote.ask_e4 = book.sides[2 * instrument + 1].best_e4
        quote.trading_state = book.listings[instrument].trading_state


@part
def _end_second(book: BookState, quotes: Array) -> None:
    """The clock has passed the end of a second: writes with what it ends for each instrument that it has named."""
    counters = book.counters
    for i in range(counters[count.NOTED]):
        instrument = book.waiting[2, i]
        book.listings[instrument].noted = 0
        _write_quote(book, instrument, quotes)
    counters[count.NOTED] = 0
    counters[count.SECOND_ENDS_NS] = (counters[count.CLOCK_NS] // _SECOND + 1) * _SECOND


@part
def note(tick: Row, book: BookState, quotes: Array) -> None:
    """Ends the running second where the clock has passed it; then notes whom the message names, and when the market's
    hours begin and end.
    """
    instrument, counters = tick.instrument_id, book.counters
    if counters[count.CLOCK_NS] >= counters[count.SECOND_ENDS_NS]:
        _end_second(book, quotes)
    if instrument >= 0:
        if book.listings[instrument].noted == 0:
            book.listings[instrument].noted = 1
            book.waiting[2, counters[count.NOTED]] = instrument
            counters[count.NOTED] += 1
    elif tick.kind == _SYSTEM:
        is_closed = counters[count.IS_CLOSED]
        if tick.detail in _HOURS_END:
            is_closed = 1
        elif tick.detail == _HOURS_BEGIN:
            is_closed = 0
        if is_closed != counters[count.IS_CLOSED]:
            counters[count.IS_CLOSED] = is_closed
            _write_quote(book, -1, quotes)
