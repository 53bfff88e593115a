"""The stage ``events``: market events that others than ingest wrote, as frames of ``md.ticks``.

They are put where ticks are, and not into the books themselves: so what signals makes still depends on ``md.ticks``
alone, and whoever writes events needs to know neither ids nor partitions.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby
from typing import Final

import numpy as np
from common.avro.codec import AvroFraming
from common.avro.compiled import Number, Reader, Verdict, reader
from common.avro.on_file import SchemaFile, by_name
from common.contracts.market_events import MarketEvent, MarketEventKind
from common.contracts.ticks import Ticks, encode_frame, heartbeat
from common.contracts.topics import MD_EVENTS, MD_TICKS, market_partition
from streams.model.blocks import Answers
from streams.model.message import Message, Output
from streams.model.tables import Tables

from signals.domain.event_ticks import VenueBook, ticks_of
from signals.event_tables import Beat, beat_key, shown_key

INPUTS: Final = (MD_EVENTS,)
OUTPUTS: Final = (MD_TICKS,)
FEED: Final = MD_EVENTS.name
"""Name of the feed in frames."""
BEAT_NS: Final = 100_000_000
"""As far apart as ingest's heartbeats: what changed is told with the first event after such a time."""
AHEAD_MAX_NS: Final = 60_000_000_000
"""An event that is further ahead of the clock has its time in another unit, or a wrong day: it would end every window
there is."""
DAY_NS: Final = 86_400_000_000_000


class NoInstrument(ValueError):
    """Nobody has announced the symbol."""


def handle(message: Message, tables: Tables, now_ns: int) -> list[Output]:
    """One event. Raises ValueError (poison) for what is none, or of no instrument, or of a time to come."""
    event: MarketEvent = message.body
    if event.from_ticks:
        return []
    if event.event_ns > now_ns + AHEAD_MAX_NS:
        raise ValueError(f"event_ns {event.event_ns} is {(event.event_ns - now_ns) / 1e9:.0f} s ahead of the clock")
    if event.kind is MarketEventKind.HEARTBEAT:
        return [
            _frame(number, heartbeat(event.event_ns), event.event_ns, now_ns)
            for number in range(MD_TICKS.partitions)
            if _beats(tables, number, event.event_ns)
        ]
    row = tables.globals("instruments").get(event.symbol.encode())
    if row is None:
        raise NoInstrument(f"no instrument {event.symbol} on ref.instruments")
    instrument_id = row.value.instrument_id
    shown, key = tables.changelogged("shown"), shown_key(instrument_id, event.venue)
    before = shown.get(key) or VenueBook()
    ticks, after = ticks_of(event, instrument_id, before)
    if after != before:
        shown.put(key, after)
    number = market_partition(instrument_id)
    if _beats(tables, number, event.event_ns, BEAT_NS):
        ticks = np.concatenate((ticks, heartbeat(event.event_ns)))
    return [_frame(number, ticks, event.event_ns, now_ns)] if len(ticks) else []


def _beats(tables: Tables, number: int, event_ns: int, apart_ns: int = 1) -> bool:
    """Whether a heartbeat goes to this partition of ``md.ticks`` now; then it is noted."""
    beats, key = tables.changelogged("beats"), beat_key(number)
    last: Beat | None = beats.get(key)
    if last is not None and event_ns < last.event_ns + apart_ns:
        return False
    beats.put(key, Beat(event_ns))
    return True


def _frame(number: int, ticks: Ticks, event_ns: int, now_ns: int) -> Output:
    body = encode_frame(ticks, feed=FEED, ingest_ns=now_ns, session_ns=event_ns - event_ns % DAY_NS)
    return Output(MD_TICKS, b"%d" % number, body, number)


# --- what ingest wrote ------------------------------------------------------------------------------------------------


def handle_batch(batch: Sequence[Message], tables: Tables, now_ns: int) -> Iterator[Answers | int]:
    """Events that were made of ticks need no answer, and are found many at once; the others are ``handle``'s."""
    read = event_reader().read([message.value or b"" for message in batch], file_of_events().id)
    from_ticks = (read.verdicts == int(Verdict.SOUND)) & read.rows["from_ticks"]
    for is_known, group in groupby(from_ticks.tolist()):
        count = len(list(group))
        yield Answers(count, ()) if is_known else count


@cache
def event_reader() -> Reader:
    """Reads of an event whether it was made of ticks."""
    return reader(file_of_events().schema(), [Number("from_ticks", "from_ticks")])


@cache
def file_of_events() -> SchemaFile:
    """The schema that this release writes events with."""
    framing = MD_EVENTS.schema.framing
    assert isinstance(framing, AvroFraming)
    return by_name()[framing.file]
