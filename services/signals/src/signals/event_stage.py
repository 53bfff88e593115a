"""The stage ``events``: market events that others than ingest wrote, as frames of ``md.ticks``.

They are put where ticks are, and not into the books themselves: so what signals makes still depends on ``md.ticks``
alone, and whoever writes events needs to know neither ids nor partitions.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import groupby, pairwise
from typing import Any, Final

import numpy as np
from common.avro.codec import AvroFraming
from common.avro.compiled import Reader, Verdict, reader
from common.avro.on_file import SchemaFile, by_name
from common.columns.records import Column, OutputColumns
from common.contracts.market_events import MarketEvent, MarketEventKind, Venue
from common.contracts.ticks import Ticks, encode_frame, heartbeat
from common.contracts.topics import MD_EVENTS, MD_TICKS, market_partition
from common.contracts.values import Symbol
from common.feed_ticks import TickRows
from pydantic import TypeAdapter, ValidationError
from streams.model.blocks import Answers
from streams.model.message import Message, Output
from streams.model.tables import Table, Tables
from streams.process.logs import get_logger

from signals import metrics
from signals.domain.event_batch import (
    COLUMNS,
    NO_SYMBOL,
    UNANNOUNCED,
    Clock,
    Events,
    Instruments,
    Placed,
    Venues,
    events_of,
    sound,
    ticks_of_many,
)
from signals.domain.event_ticks import VenueBook, Where, show, ticks_of, withdraw
from signals.domain.venue_silence import SILENCE_NS, Speakers, hear, hear_many, without_turns
from signals.event_tables import SPEAKERS, Beat, beat_key, shown_by, shown_key

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
TICKS_MAX: Final = 4_096
"""Ticks of a frame; 56 bytes each."""
TOGETHER_MIN: Final = 4
"""Fewer events of others in a batch are handled faster one by one."""
SYMBOL: Final[TypeAdapter[str]] = TypeAdapter(Symbol)
VENUE: Final[TypeAdapter[str]] = TypeAdapter(Venue)
_log = get_logger(__name__)


class NoInstrument(ValueError):
    """Nobody has announced the symbol."""


def handle(message: Message, tables: Tables, now_ns: int, silence_ns: int = SILENCE_NS) -> list[Output]:
    """One event. Raises ValueError (poison) for what is none, or of no instrument, or of a time to come.
    ``silence_ns``: a venue that has said nothing for longer is left out of the books; 0: none is.
    """
    event: MarketEvent = message.body
    if event.from_ticks:
        return []
    if event.event_ns > now_ns + AHEAD_MAX_NS:
        raise ValueError(f"event_ns {event.event_ns} is {(event.event_ns - now_ns) / 1e9:.0f} s ahead of the clock")
    if event.kind is MarketEventKind.HEARTBEAT:
        turned = _turned(event, tables, now_ns, silence_ns)
        beaten = [number for number in range(MD_TICKS.partitions) if _beats(tables, number, event.event_ns)]
        return turned + [_frame(number, heartbeat(event.event_ns), event.event_ns, now_ns) for number in beaten]
    row = tables.globals("instruments").get(event.symbol.encode())
    if row is None:
        raise NoInstrument(f"no instrument {event.symbol} on ref.instruments")
    instrument_id = row.value.instrument_id
    turned = _turned(event, tables, now_ns, silence_ns)
    shown, key = tables.changelogged("shown"), shown_key(instrument_id, event.venue)
    before = shown.get(key) or VenueBook()
    ticks, after = ticks_of(event, instrument_id, before)
    if after != before:
        shown.put(key, after)
        if _speakers(tables).is_out(event.venue):
            ticks = ticks[:0]
    number = market_partition(instrument_id)
    if _beats(tables, number, event.event_ns, BEAT_NS):
        ticks = np.concatenate((ticks, heartbeat(event.event_ns)))
    return turned + ([_frame(number, ticks, event.event_ns, now_ns)] if len(ticks) else [])


def _speakers(tables: Tables) -> Speakers:
    found: Speakers | None = tables.changelogged("speakers").get(SPEAKERS)
    return found or Speakers()


def _turned(event: MarketEvent, tables: Tables, now_ns: int, silence_ns: int) -> list[Output]:
    """Notes who speaks. Levels of venues that fall silent with it leave the books, those of one that is back return."""
    before = _speakers(tables)
    turn = hear(before, event.venue, event.event_ns, silence_ns)
    _note(tables, before, turn.speakers)
    rows: dict[int, TickRows] = defaultdict(TickRows)
    for venue, change in [*((venue, withdraw) for venue in turn.silent), *[(event.venue, show)] * turn.is_back]:
        _log.warning("venue_left_out" if change is withdraw else "venue_back", venue=venue, partition=tables.partition)
        for instrument_id, book in shown_by(tables.changelogged("shown"), venue):
            change(rows[market_partition(instrument_id)], Where(venue, instrument_id, event.event_ns), book)
    frames = []
    for number in sorted(rows):
        ticks = rows[number].take()
        parts = (ticks[begin : begin + TICKS_MAX] for begin in range(0, len(ticks), TICKS_MAX))
        frames += [_frame(number, part, event.event_ns, now_ns) for part in parts]
    return frames


def _note(tables: Tables, before: Speakers, after: Speakers) -> None:
    if after != before:
        tables.changelogged("speakers").put(SPEAKERS, after)
    metrics.VENUES_LEFT_OUT.labels(str(tables.partition)).set(after.left_out)


def _beats(tables: Tables, number: int, event_ns: int, apart_ns: int = 1) -> bool:
    """Whether a heartbeat goes to this partition of ``md.ticks`` now; then it is noted."""
    beats, key = tables.changelogged("beats"), beat_key(number)
    last: Beat | None = beats.get(key)
    if last is not None and event_ns < last.event_ns + apart_ns:
        return False
    beats.put(key, Beat(event_ns))
    return True


def _frame(number: int, ticks: Ticks, event_ns: int, now_ns: int) -> Output:
    body = encode_frame(ticks, feed=FEED, ingest_ns=now_ns, session_ns=_session_ns(event_ns))
    return Output(MD_TICKS, b"%d" % number, body, number)


def _session_ns(event_ns: int) -> int:
    return event_ns - event_ns % DAY_NS


# --- many at once -----------------------------------------------------------------------------------------------------


def handle_batch(
    batch: Sequence[Message], tables: Tables, now_ns: int, silence_ns: int = SILENCE_NS
) -> Iterator[Answers | int]:
    """Sound events of this release's schema become ticks together, those of a partition in one frame; what was
    made of ticks needs no answer. What is left is ``handle``'s: the few, the unsound, of which it says what is wrong,
    and those with which a venue falls silent or comes back.
    """
    values = [message.value or b"" for message in batch]
    read = event_reader().read(values, file_of_events().id)
    is_read = read.verdicts == int(Verdict.SOUND)
    is_ours = is_read & read.rows["from_ticks"]
    (others,) = np.nonzero(is_read & ~is_ours)
    if len(others) < TOGETHER_MIN:
        yield from _stretches(is_ours, lambda begin, end: iter([Answers(end - begin, ())]))
        return
    ids = Instruments(lambda symbol: _instrument_of(symbol, tables))
    events = events_of(read.rows[others], b"".join(values), ids, Venues(partial(_is, VENUE)))
    is_sound = np.zeros(len(batch), bool)
    is_sound[others] = sound(events, now_ns + AHEAD_MAX_NS)

    def answers(begin: int, end: int) -> Iterator[Answers | int]:
        while begin < end:
            first, last = np.searchsorted(others, (begin, end)).tolist()
            calm = first + _without_turns(events.part(first, last), tables, silence_ns)
            until = end if calm == last else int(others[calm])
            if until > begin:
                of = others[first:calm] - begin
                yield Answers(until - begin, _frames(events.part(first, calm), of, batch[begin:until], tables, now_ns))
            if until < end:
                yield 1
            begin = until + 1

    yield from _stretches(is_ours | is_sound, answers)


def _stretches(good: Any, answers: Callable[[int, int], Iterator[Answers | int]]) -> Iterator[Answers | int]:
    """The answers to stretches of good messages, and the lengths of the others."""
    begin = 0
    for is_good, group in groupby(good.tolist()):
        end = begin + len(list(group))
        yield from answers(begin, end) if is_good else (end - begin,)
        begin = end


def _without_turns(events: Events, tables: Tables, silence_ns: int) -> int:
    venues = [venue.decode() for venue in events.venues]
    return without_turns(_speakers(tables), venues, events.rows["event_ns"].tolist(), silence_ns)


def _frames(events: Events, of: Any, batch: Sequence[Message], tables: Tables, now_ns: int) -> list[OutputColumns]:
    """Ticks of sound events. ``of``: the number of each in the batch."""
    books, beats = tables.changelogged("shown"), tables.changelogged("beats")
    before = [beats.get(beat_key(number)) for number in range(MD_TICKS.partitions)]
    clock = Clock([-1 if beat is None else beat.event_ns for beat in before], BEAT_NS)
    shown = _Books(books)
    placed = ticks_of_many(events, shown, clock, events.instruments % MD_TICKS.partitions)
    shown.keep()
    speakers, venues = _speakers(tables), [venue.decode() for venue in events.venues]
    _note(tables, speakers, hear_many(speakers, venues, events.rows["event_ns"].tolist()))
    for number, (beat, last_ns) in enumerate(zip(before, clock.last_ns, strict=True)):
        if last_ns != (-1 if beat is None else beat.event_ns):
            beats.put(beat_key(number), Beat(last_ns))
    traced = np.array([bool(batch[at].headers) for at in of], bool)
    frames: dict[int, list[tuple[int, bytes]]] = {}
    for begin, end in pairwise(_cuts(placed)):
        number, event_ns = int(placed.partitions[begin]), int(placed.ticks["event_ns"][begin])
        told = placed.of[begin:end]
        answered = told[int(np.argmax(traced[told]))]  # whose trace goes on: the first that has one
        frame = encode_frame(placed.ticks[begin:end], feed=FEED, ingest_ns=now_ns, session_ns=_session_ns(event_ns))
        frames.setdefault(number, []).append((int(of[answered]), frame))
    return [_block(number, answered) for number, answered in frames.items()]


def _cuts(placed: Placed) -> list[int]:
    """Numbers of the ticks at which frames begin, and the end: each of one partition, one day, TICKS_MAX ticks."""
    count = len(placed.ticks)
    if not count:
        return []
    days = placed.ticks["event_ns"] // DAY_NS
    (changes,) = np.nonzero((np.diff(placed.partitions) != 0) | (np.diff(days) != 0))
    bounds = [0, *(changes + 1).tolist(), count]
    return [at for begin, end in pairwise(bounds) for at in range(begin, end, TICKS_MAX)] + [count]


def _block(number: int, frames: Sequence[tuple[int, bytes]]) -> OutputColumns:
    """Frames of a partition, each with the number of the message that it answers."""
    key = b"%d" % number
    ends = np.cumsum([len(frame) for _, frame in frames])
    text = np.frombuffer(b"".join(frame for _, frame in frames), np.uint8)
    same = np.zeros(len(frames), np.int64)
    keys = Column(np.frombuffer(key, np.uint8), same, same + len(key))
    values = Column(text, np.concatenate((same[:1], ends[:-1])), ends)
    return OutputColumns(MD_TICKS, number, np.array([of for of, _ in frames], np.int64), keys, values)


class _Books(dict[tuple[int, bytes], VenueBook]):
    """Books that venues show, read once from the table and written back once."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        self._table = table
        self._before: dict[tuple[int, bytes], VenueBook] = {}

    def __missing__(self, key: tuple[int, bytes]) -> VenueBook:
        instrument_id, venue = key
        found = self[key] = self._before[key] = self._table.get(shown_key(instrument_id, venue.decode())) or VenueBook()
        return found

    def keep(self) -> None:
        """Writes those that are not as they were."""
        for key, book in self.items():
            if book != self._before[key]:
                self._table.put(shown_key(key[0], key[1].decode()), book)


def _instrument_of(symbol: str, tables: Tables) -> int:
    if not _is(SYMBOL, symbol):
        return NO_SYMBOL
    row = tables.globals("instruments").get(symbol.encode())
    return UNANNOUNCED if row is None else int(row.value.instrument_id)


def _is(kind: TypeAdapter[str], text: str) -> bool:
    try:
        kind.validate_python(text)
    except ValidationError:
        return False
    return True


@cache
def event_reader() -> Reader:
    """Reads what an event says."""
    return reader(file_of_events().schema(), COLUMNS)


@cache
def file_of_events() -> SchemaFile:
    """The schema that this release writes events with."""
    framing = MD_EVENTS.schema.framing
    assert isinstance(framing, AvroFraming)
    return by_name()[framing.file]
