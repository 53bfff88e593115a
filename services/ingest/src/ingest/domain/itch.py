"""Decodes blocks of ITCH 5.0 messages into ticks, in bulk.

The kernel moves fields by the table of ``itch_spec``, without a branch per message type. It stops only at a directory
message (R) that says something new, which Python registers; some thousand times a session, before trading.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from common.contracts.reference import Instrument
from common.contracts.ticks import NO_INSTRUMENT, TICK, TickFlag, TickKind, Ticks, offset_of, symbol_to_ref

from ingest.domain.anomalies import Anomaly, AnomalyKind, Report
from ingest.domain.days import Days
from ingest.domain.feed_date import WallClock
from ingest.domain.framing import Block
from ingest.domain.instruments import InstrumentRegistry
from ingest.domain.itch_spec import (
    COL_MARKET_WIDE,
    COL_SPECIAL,
    E8_PER_E4,
    FIELD_TABLE,
    HEADER_LENGTH,
    LENGTHS,
    MESSAGES,
    WIDTH_MASKS,
)
from ingest.domain.position import pack_locates
from ingest.domain.stamps import (
    AHEAD_MAX_NS,
    CLOCK,
    ENDED,
    MESSAGES_BEGIN,
    NOT_BELIEVED,
    SYSTEM_EVENT,
    TURN,
    UNSET,
    stamp_of,
    unusual_stamp,
)
from ingest.domain.words import byte_swapped, fields_of, padded
from ingest.kernels import inlined, kernel

LOCATES: Final = 1 << 16
ANOMALIES_LOGGED_MAX: Final = 32
_TICK_WORDS: Final = TICK.itemsize // 8
_ANOMALY_KINDS: Final = (
    AnomalyKind.UNKNOWN_TYPE,
    AnomalyKind.BAD_LENGTH,
    AnomalyKind.UNKNOWN_LOCATE,
    AnomalyKind.BAD_TIMESTAMP,
    AnomalyKind.STAMP_AHEAD,
    AnomalyKind.OFF_SCALE,
)
_UNKNOWN_TYPE, _BAD_LENGTH, _UNKNOWN_LOCATE, _BAD_TIMESTAMP, _STAMP_AHEAD, _OFF_SCALE = range(6)
# Plain integers, since numba freezes globals into the compiled kernel.
_R: Final = int(TickKind.STOCK_DIRECTORY)
_MESSAGES_END: Final = ord("C")
_V: Final = int(TickKind.MWCB_DECLINE)
_C: Final = int(TickKind.EXECUTED_WITH_PRICE)
_Q: Final = int(TickKind.CROSS_TRADE)
_I: Final = int(TickKind.IMBALANCE)
_PRINTABLE: Final = int(TickFlag.PRINTABLE)
_ROUND_LOTS_ONLY: Final = int(TickFlag.ROUND_LOTS_ONLY)
_YES: Final = ord("Y")
_BUY: Final = ord("B")
_SELL: Final = ord("S")
_PADDING: Final = b"\0 "
"""The specification pads symbols with spaces on the right; senders that fill with NUL are read the same."""
NONE_KNOWN: Final = -1
"""No directory message of the block was registered yet."""
_ROUND_LOTS_ONLY_AT: Final = offset_of(MESSAGES[TickKind.STOCK_DIRECTORY], "round_lots_only")


@inlined
def _write(rows: Any, row: Any, words: Any, instrument: Any, traits: Any) -> None:
    """A tick. ``words``: its first six."""
    rows[row, 0], rows[row, 1] = words[0], words[1]
    rows[row, 2], rows[row, 3] = np.int64(words[2]), np.int64(words[3])
    rows[row, 4], rows[row, 5] = np.int64(words[4]), np.int64(words[5])
    kind, side, flags, detail = traits
    packed = kind | side << np.uint64(8) | flags << np.uint64(16) | detail << np.uint64(24)
    rows[row, 6] = np.int64(np.uint64(np.uint32(instrument)) | packed << np.uint64(32))


class DecoderState(NamedTuple):
    """The arrays the kernel works on, as one argument. ``locate_*`` are indexed by stock locate code."""

    locate_ids: Any  # int32, -1 where no directory message came
    locate_symbols: Any  # uint64, as in an R tick
    locate_lots: Any  # uint64, round lot sizes
    kinds: Any  # int64[256], ticks by message type
    fields: Any  # FIELD_TABLE
    masks: Any  # WIDTH_MASKS
    message_lengths: Any  # LENGTHS
    anomalies: Any  # int64[4], counts
    anomaly_log: Any  # int64[n, 2], (kind, message index) of the first cases
    time: Any  # int64[7]: greatest stamp so far, what is added to stamps after midnight, a stamp that nothing has
    # agreed with yet, whether the day's end of messages was seen, whether it is a packet line, the suspect's message,
    # how many in a row agree with it


@inlined
def _special(kind: Any, words: Any, side: Any, detail: Any) -> Any:
    """Handles messages that do more than move a field. Returns (reference, auxiliary, price, side, printable)."""
    reference, auxiliary, price, quantity = words
    printable = np.uint64((kind == _C and detail == _YES) or (kind == _Q and quantity != 0))
    if kind == _V:
        scale = np.uint64(E8_PER_E4)
        return reference // scale, auxiliary // scale, price // scale, side, printable
    if kind == _I and side != _BUY and side != _SELL:
        side = np.uint64(0)
    return reference, auxiliary, price, side, printable


@kernel
def _log(anomalies: Any, log: Any, kind: int, index: int) -> None:
    total = anomalies.sum()
    if total < len(log):
        log[total, 0] = kind
        log[total, 1] = index
    anomalies[kind] += 1


@inlined
def _is_known(state: Any, locate: Any, symbol: Any, lot: Any) -> Any:
    return state.locate_symbols[locate] == symbol and state.locate_lots[locate] == lot


@inlined
def _placed(data: Any, starts: Any, lengths: Any, place: Any, stamp: Any, latest: Any, turn: Any, state: Any) -> Any:
    """(whether the stamp is none, stamp, latest stamp, turn) of a message that is far from the latest."""
    state.time[CLOCK] = latest + turn
    now = unusual_stamp(data, starts, lengths, place[0], place[1], stamp, state.time)
    latest, turn = latest + turn - state.time[TURN], state.time[TURN]
    if now == NOT_BELIEVED:
        now = latest + turn
        _log(state.anomalies, state.anomaly_log, _STAMP_AHEAD, place[0])
    elif now < 0:
        _log(state.anomalies, state.anomaly_log, _BAD_TIMESTAMP, place[0])
    return now < 0, now - turn, latest, turn


@kernel
def decode_messages(
    data: Any, starts: Any, lengths: Any, span: Any, base: Any, rows: Any, row: int, state: DecoderState
) -> tuple[int, int]:
    """Decodes messages into ``rows`` (int64, one line of 7 words per tick) from line ``row``. ``span``: (first message,
    stop, a message registered before); ``base``: (sequence of message 0, midnight in ns).

    Returns (index reached, lines written). Short of ``stop`` that is a new R, or a further S that begins a day, and
    never the one registered before: each call comes further than the last, whatever the bytes are.
    """
    (index, stop, known), fields, masks = span, state.fields, state.masks
    turn = state.time[TURN]
    origin, latest = base[1] + turn, state.time[CLOCK] - turn  # the latest stamp, as those of its day are counted
    while index < stop:
        start = np.uint64(starts[index])
        kind = data[start] if lengths[index] else np.uint8(0)
        length = state.message_lengths[kind]
        if length == 0 or lengths[index] != length:
            _log(state.anomalies, state.anomaly_log, _UNKNOWN_TYPE if length == 0 else _BAD_LENGTH, index)
            index += 1
            continue
        stamp = stamp_of(data, start)
        locate = np.uint64(data[start + np.uint64(1)]) << np.uint64(8) | np.uint64(data[start + np.uint64(2)])
        reference, price, quantity, auxiliary, side, detail, flags = fields_of(data, start, fields, masks, kind)
        if fields[kind, COL_SPECIAL]:
            if kind == _R:
                reference = padded(byte_swapped(reference))
                if index != known and not _is_known(state, locate, reference, quantity):
                    break
                flags = np.uint64(_ROUND_LOTS_ONLY * (data[start + np.uint64(_ROUND_LOTS_ONLY_AT)] == _YES))
            elif kind == SYSTEM_EVENT:
                if detail == MESSAGES_BEGIN and latest + turn != UNSET and index != known:
                    break
                state.time[ENDED] = np.int64(detail == _MESSAGES_END)
            else:
                words = (reference, auxiliary, price, quantity)
                reference, auxiliary, price, side, flags = _special(kind, words, side, detail)
        instrument = np.int32(NO_INSTRUMENT) if fields[kind, COL_MARKET_WIDE] else state.locate_ids[locate]
        reached = stamp
        if np.uint64(stamp - latest) > np.uint64(AHEAD_MAX_NS):
            reached = latest
            if not latest - AHEAD_MAX_NS <= stamp < latest:
                at = (index, base[0] + index)
                is_none, stamp, latest, turn = _placed(data, starts, lengths, at, stamp, latest, turn, state)
                origin = base[1] + turn
                if is_none:
                    index += 1
                    continue
                reached = max(latest, stamp)
        if (instrument < 0 and not fields[kind, COL_MARKET_WIDE]) or np.int64(quantity) < 0:
            _log(state.anomalies, state.anomaly_log, _OFF_SCALE if np.int64(quantity) < 0 else _UNKNOWN_LOCATE, index)
            index += 1
            continue
        latest = reached
        state.kinds[kind] += 1
        tick = (origin + stamp, base[0] + index, reference, auxiliary, price, quantity)
        _write(rows, row, tick, instrument, (np.uint64(kind), side, flags, detail))
        row, index = row + 1, index + 1
    state.time[CLOCK], state.time[TURN] = latest + turn, turn
    return index, row


@kernel
def _gather(data: Any, starts: Any, out: Any) -> None:
    for index in range(len(starts)):
        for byte in range(out.shape[1]):
            out[index, byte] = data[starts[index] + byte]


def records(block: Block, kind: TickKind) -> npt.NDArray[Any]:
    """All messages of one type with every field of the specification, as an array of ``MESSAGES[kind]``."""
    dtype = MESSAGES[kind]
    candidates = block.starts[block.lengths == dtype.itemsize]
    chosen = candidates[block.data[candidates] == kind]
    out = np.empty((len(chosen), dtype.itemsize), np.uint8)
    _gather(block.data, chosen, out)
    return out.reshape(-1).view(dtype)


class Decoder:
    """One feed session: stock locate codes of the day, and counters.

    ``session_ns`` is the exchange's midnight, ns since the epoch, or its whole wall clock. Instruments that have to be
    announced before the ticks just decoded are taken with ``take_announcements``. A feed with ``days`` may hold more
    than one; ``is_line``: messages come in packets, and what follows them cannot be asked.
    """

    def __init__(
        self,
        session_ns: int | WallClock,
        registry: InstrumentRegistry,
        report: Report,
        locates: dict[int, int] | None = None,
        *,
        days: Days | None = None,
        is_line: bool = False,
    ) -> None:
        self.clock = session_ns if isinstance(session_ns, WallClock) else WallClock(session_ns)
        self.days = days
        self.registry = registry
        self.report = report
        self.locates: dict[int, int] = {}
        """Stock locate code to instrument id."""
        self._state = DecoderState(
            locate_ids=np.full(LOCATES, NO_INSTRUMENT, np.int32),
            locate_symbols=np.zeros(LOCATES, np.uint64),
            locate_lots=np.zeros(LOCATES, np.uint64),
            kinds=np.zeros(256, np.int64),
            fields=FIELD_TABLE,
            masks=WIDTH_MASKS,
            message_lengths=LENGTHS,
            anomalies=np.zeros(len(_ANOMALY_KINDS), np.int64),
            anomaly_log=np.empty((ANOMALIES_LOGGED_MAX, 2), np.int64),
            time=np.array([UNSET, 0, UNSET, 0, is_line, 0, 0], np.int64),
        )
        self._announcements: list[Instrument] = []
        self._packed_locates: bytes | None = None
        for locate, instrument_id in (locates or {}).items():
            self.assign(locate, registry.by_id(instrument_id))

    def assign(self, locate: int, instrument: Instrument) -> None:
        """Names the instrument of a locate code that no directory message of the stream may name."""
        self._assign(locate, instrument, symbol_to_ref(instrument.symbol), instrument.round_lot_size)

    def decode(self, block: Block, start: int = 0, stop: int | None = None) -> Ticks:
        """Ticks of messages ``start`` to ``stop``, in order. What becomes no tick is counted and reported."""
        stop = len(block) if stop is None else stop
        ticks = np.empty(stop - start, TICK)
        rows = ticks.view(np.int64).reshape(-1, _TICK_WORDS)
        index, row, known = start, 0, NONE_KNOWN
        while index < stop:
            base, first = (block.first_sequence, self.clock.midnight_ns), row
            index, row = decode_messages(
                block.data, block.starts, block.lengths, (index, stop, known), base, rows, row, self._state
            )
            if self.clock.change_ns:
                self._change_clocks(ticks[first:row])
            if index < stop:
                known = index
                if block.data[block.starts[index]] == TickKind.SYSTEM_EVENT:
                    self._begin_messages(block, index)
                elif not self._register(block, index):
                    index += 1
        if self._state.anomalies.any():
            self._report_anomalies(block)
        self.report.messages += stop - start
        self.report.ticks += row
        return ticks[:row]

    @property
    def ended(self) -> bool:
        """Whether the day's end of messages (S, event code C) is the last word of the feed so far."""
        return bool(self._state.time[ENDED])

    def resume(self, last_event_ns: int, *, ended: bool) -> None:
        """Goes on after a message of that time, as the decoder would that decoded it."""
        if last_event_ns:
            self._state.time[CLOCK] = last_event_ns - self.clock.midnight_ns
        self._state.time[ENDED] = ended

    def finish(self, offset: int, sequence: int) -> None:
        """The day's messages are over: reports what a whole day has and this one does not."""
        if not self.locates:
            detail = f"no directory message (R) in {sequence - 1:,} messages: no order and no trade has a symbol"
            self.report.add(Anomaly(AnomalyKind.NO_DIRECTORY, offset, sequence - 1, detail))
        if not self.ended:
            detail = "the day's end of messages (S, event code C) never came"
            self.report.add(Anomaly(AnomalyKind.UNFINISHED_DAY, offset, sequence - 1, detail))

    def _begin_messages(self, block: Block, index: int) -> None:
        """A further S that begins a day's messages: of a new day, where the last one has ended or the time went back;
        else the sender began anew on the same day.
        """
        start = int(block.starts[index])
        stamp = int.from_bytes(block.data[start + 5 : start + HEADER_LENGTH].tobytes(), "big")
        if self.days is None or not (self.ended or stamp < self._state.time[CLOCK]):
            return
        offset, sequence = block.offset(index), block.first_sequence + index
        self.finish(offset, sequence)
        self.begin_day(self.days.go_on(offset, sequence))

    def begin_day(self, clock: WallClock) -> None:
        """Locate codes, references and the clock begin anew."""
        self.clock = clock
        self.locates.clear()
        self._packed_locates = None
        self._state.locate_ids[:] = NO_INSTRUMENT
        self._state.locate_symbols[:] = 0
        self._state.time[: ENDED + 1] = (UNSET, 0, UNSET, 0)

    def _change_clocks(self, ticks: Ticks) -> None:
        late = ticks["event_ns"] >= self.clock.midnight_ns + self.clock.change_at
        ticks["event_ns"] += np.where(late, self.clock.change_ns, 0)

    def kinds(self) -> dict[TickKind, int]:
        """Ticks decoded so far, by message type."""
        return {TickKind(kind): int(count) for kind, count in enumerate(self._state.kinds) if count}

    def take_announcements(self) -> list[Instrument]:
        """Instruments that are new or changed since the last call, in order."""
        taken, self._announcements = self._announcements, []
        return taken

    def packed_locates(self) -> bytes:
        """``locates`` as a position carries them."""
        if self._packed_locates is None:
            self._packed_locates = pack_locates(self.locates)
        return self._packed_locates

    def _register(self, block: Block, index: int) -> bool:
        """Learns a directory message. False if its symbol is none: then the message is an anomaly."""
        dtype = MESSAGES[TickKind.STOCK_DIRECTORY]
        start = int(block.starts[index])
        message = block.data[start : start + dtype.itemsize].view(dtype)[0]
        symbol, lot = bytes(message["stock"]).rstrip(_PADDING), int(message["round_lot_size"])
        try:
            instrument, announce = self.registry.register(symbol.decode("ascii"), lot)
        except ValueError:
            anomaly = Anomaly(
                AnomalyKind.BAD_SYMBOL, block.offset(index), block.first_sequence + index, f"stock {symbol!r}"
            )
            self.report.add(anomaly)
            return False
        if announce:
            self._announcements.append(instrument)
        self._assign(int(message["stock_locate"]), instrument, symbol_to_ref(instrument.symbol), lot)
        return True

    def _assign(self, locate: int, instrument: Instrument, symbol_word: int, lot: int) -> None:
        self.locates[locate] = instrument.instrument_id
        self._packed_locates = None
        self._state.locate_ids[locate] = instrument.instrument_id
        self._state.locate_symbols[locate] = symbol_word
        self._state.locate_lots[locate] = lot

    def _report_anomalies(self, block: Block) -> None:
        counts = self._state.anomalies
        logged = min(int(counts.sum()), ANOMALIES_LOGGED_MAX)
        for code, index in self._state.anomaly_log[:logged].tolist():
            start, length = int(block.starts[index]), int(block.lengths[index])
            detail = f"type {chr(block.data[start])!r}, {length} bytes" if length else "no bytes"
            if code == _UNKNOWN_LOCATE:
                detail += f", locate {int.from_bytes(block.data[start + 1 : start + 3].tobytes(), 'big')}"
            kind = _ANOMALY_KINDS[code]
            self.report.add(Anomaly(kind, block.offset(index), block.first_sequence + index, detail))
            counts[code] -= 1
        for code, rest in enumerate(counts.tolist()):
            if rest:
                self.report.counts[_ANOMALY_KINDS[code]] += rest
        counts[:] = 0
