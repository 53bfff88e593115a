"""The market of one partition: books, bars, and what is told of them when.

Time is in the input: bars are issued, and seconds judged, when the watermark passes their end; marks, depths and views
are made at heartbeats, for the instruments that changed since they were last told. So what goes out, and in which
order, depends on the log alone, not on when it is handled. Where one feed is in order and alone, the watermark is its
clock, and it does not matter either how its ticks are cut into frames; else the watermark moves with each frame.

What one heartbeat tells is bounded, for readers who cannot follow a flood: the instruments that wait longest come
first, the others at the next heartbeats. The clock row of the marks goes out at every heartbeat.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from common.books import Books
from common.books import count as book_count
from common.books.layout import (
    CHANGED_DEPTH,
    CHANGED_QUOTE,
    CHANGED_TRADE,
    STOP_HEARTBEAT,
    STOP_SESSION,
    STOP_SESSION_END,
    Array,
)
from common.contracts.alerts import ALERTS_VERSION, SLICE_NS, AlertLimits, Alerts
from common.contracts.market import BAR, DEPTH, LATE, MARK, Bars, Depths, Lates, Marks, Measured
from common.contracts.ticks import NO_INSTRUMENT, Ticks
from common.contracts.windows import ALLOWED_LATENESS_NS, lengths_ns
from common.measures import Measure, Source
from common.order_patterns import Pattern

from signals.domain import count
from signals.domain.alert_board import AlertBoard
from signals.domain.alignment import anchor_of
from signals.domain.bars import TRADES_MAX, TumblingBars
from signals.domain.effects import NOT_MEASURED, Beat, Effects, Limits
from signals.domain.gap_windows import NO_SESSIONS
from signals.domain.held_back import HELD_MAX, HeldBack, Said
from signals.domain.market_alerts import NO_ALERTS, PATTERNS_FIRST, MarketAlerts
from signals.domain.measure_set import measure_set, measured_rows
from signals.domain.pattern_matches import NO_MATCHES, PatternMatches
from signals.domain.phase_windows import NO_PHASE_ROWS, trigger_rows
from signals.domain.quote_windows import QuoteWindows
from signals.domain.showcase import Showcase
from signals.domain.triggers import NO_TURNS, Turn, Turns
from signals.domain.watermark import SPORADIC, FeedBounds, Watermark

UNSAID: Final = 0
UNSEEN: Final = 1


def accounts(books: Books, bars: Array) -> dict[str, int]:
    """Trades that a window holds, that came too late for every window, and that are refused: without a price, shares
    or an instrument, or in the log already. ``bars``: their counters.
    """
    return {
        "windowed": int(bars[count.WINDOWED]),
        "late": int(bars[count.TOO_LATE]),
        "rejected": int(books.counters[book_count.REFUSED_TRADES] + bars[count.DUPLICATE_TRADE]),
    }


@dataclass
class MarketState:
    """One partition's market. The state is in arrays: ``arrays`` and ``restore`` carry it over bit for bit."""

    windows_ns: Sequence[int] = field(default_factory=lengths_ns)
    slides_ns: Sequence[tuple[int, int]] = ()
    """Length and step of sliding windows."""
    gaps_ns: Sequence[int] = ()
    """Gaps of session windows."""
    triggers: Sequence[int] = ()
    """Triggers of triggered windows, as bits."""
    limits: Limits = field(default_factory=Limits)
    trades_max: int = TRADES_MAX
    measures: Sequence[Measure] = ()
    """Beside the bars."""
    lateness_ns: int = ALLOWED_LATENESS_NS
    alert_limits: AlertLimits = field(default_factory=AlertLimits)
    patterns: Sequence[Pattern] = ()
    """Patterns of orders, whose matches are alerts."""
    bounds: FeedBounds = field(default_factory=FeedBounds)
    next_offset: int = 0
    """Offset behind the last frame that was applied, for whoever reads the state; not part of a snapshot."""

    def __post_init__(self) -> None:
        of_quotes = [measure for measure in self.measures if measure.of is Source.QUOTES]
        self.books = Books(record_quotes=True, record_bbo=bool(of_quotes), record_actions=bool(self.patterns))
        self.quoted = QuoteWindows(self.windows_ns, of_quotes) if of_quotes else None
        self.bars = TumblingBars(
            self.windows_ns,
            measure_set([measure for measure in self.measures if measure.of is Source.TRADES]),
            slides_ns=self.slides_ns,
            gaps_ns=self.gaps_ns,
            triggers=self.triggers,
            trades_max=self.trades_max,
            lateness_ns=self.lateness_ns,
            slice_ns=SLICE_NS,
        )
        self.matched = PatternMatches(self.patterns, PATTERNS_FIRST) if self.patterns else None
        ordered = self.matched.patterns if self.matched is not None else ()
        self.alerts, self.board = MarketAlerts(self.alert_limits, ordered), AlertBoard()
        self.showcase = Showcase(self.windows_ns, self.limits.bars_shown, self.limits.bars_cleared)
        self.watermark, self.held = Watermark(self.bounds), HeldBack()
        self._sessions: list[Array] = []
        self._phases: list[Array] = []

    def apply(self, ticks: Ticks, ingest_ns: int, feed: str = "", session_ns: int = 0) -> Effects:
        """Applies a frame of a feed. ``session_ns``: the venue's midnight of its session; 0: it tells of none.

        Raises ValueError, before any change, if it names an impossible instrument.
        """
        if ticks.flags.writeable:  # the kernels are compiled for the read-only view that a frame gives
            ticks = ticks.view()
            ticks.flags.writeable = False
        self.books.admit(ticks)
        for part in (self.bars, self.alerts, self.showcase, self.quoted):
            if part is not None:
                part.admit(len(self.books.listings))
        issued: list[Array] = []
        alerts: list[Alerts] = []
        beats: list[Beat] = []
        late: list[Lates] = []
        quoted: list[Array] = []
        at = 0
        anchor_ns = self._anchor_ns(feed, session_ns)
        turns = Turns(ticks, self.books.listings["trading_state"]) if self.triggers else NO_TURNS
        self.watermark.hear(feed, ingest_ns, self.books.clock_ns)
        while at < len(ticks):
            begin, at = at, self.books.apply(turns.until_next(ticks, at), at)
            said, clock_ns = self._said(ticks[begin:at], turns.passed(at)), self.watermark.ns
            self._issue(self.bars.apply(said.prints, clock_ns, self.books.listings), issued)
            if len(self.bars.late):
                self.bars.late["symbol"] = self.books.symbols[self.bars.late["instrument_id"]]
                late.append(self.bars.late)
            self._judge(said, alerts)
            if self.quoted is not None:
                quoted.append(self.quoted.apply(said.changes, clock_ns))
            if self.books.stop == STOP_SESSION_END:
                self._end_session(issued, alerts, quoted)
            if self.books.stop in (STOP_HEARTBEAT, STOP_SESSION_END):
                beats.append(self._beat(ingest_ns))
            elif self.books.stop == STOP_SESSION:
                self._begin_session(int(ticks[at - 1]["event_ns"]), anchor_ns, issued, alerts, quoted)
        lates = np.concatenate(late) if late else _NO_LATES
        told = np.concatenate(alerts) if alerts else NO_ALERTS
        of_quotes = self._measured_of(quoted)
        sessions, self._sessions = np.concatenate((NO_SESSIONS, *self._sessions)), []
        phases, self._phases = np.concatenate((NO_PHASE_ROWS, *self._phases)), []
        if not issued:
            return Effects(_NO_BARS, NOT_MEASURED, beats, lates, told, of_quotes, sessions, phases)
        rows, measures = np.concatenate(issued), self.bars.measures
        measured = measures.measured_of(rows[self.bars.measured(rows)]) if measures.results else NOT_MEASURED
        return Effects(measures.bars_of(rows), measured, beats, lates, told, of_quotes, sessions, phases)

    def _anchor_ns(self, feed: str, session_ns: int) -> int:
        """The anchor of windows that a session is to have which begins in the frame. Before the first tick of all there
        is no window yet, and any session has begun. Strangers' events are of no session.
        """
        is_told = session_ns and feed.encode() not in SPORADIC
        anchor_ns = anchor_of(session_ns) if is_told else self.bars.anchor_ns
        if not self.books.clock_ns:
            self.bars.align(anchor_ns)
            if self.quoted is not None:
                self.quoted.align(anchor_ns)
        return anchor_ns

    def _measured_of(self, quoted: list[Array]) -> Measured:
        if self.quoted is None or not quoted:
            return NOT_MEASURED
        rows = np.concatenate(quoted)
        rows["symbol"] = self.books.symbols[rows["instrument_id"]]
        return measured_rows(rows, self.quoted.results)

    def _said(self, ticks: Ticks, turned: Sequence[Turn]) -> Said:
        """Rows of the books up to the watermark, which comes to the ticks that they have applied. ``turned``: triggers
        that the last of them was.
        """
        books, watermark = self.books, self.watermark
        matches = self.matched.apply(books.actions) if self.matched is not None else NO_MATCHES
        prints = books.prints
        if turned:
            prints = np.concatenate((prints, trigger_rows(turned, books.clock_ns)))
        said = Said(prints, books.quotes, books.changes, matches)
        if watermark.is_clock:
            watermark.follow(books.clock_ns)
            return said
        before_ns = watermark.ns
        self.held.hold(said, watermark.reach(int(ticks["event_ns"].max()), books.clock_ns))
        if books.stop in (STOP_SESSION, STOP_SESSION_END):
            watermark.pass_all(books.clock_ns)
        said = self.held.release(before_ns, watermark.ns)
        if len(self.held) > HELD_MAX:
            watermark.force(books.clock_ns)
            rest = self.held.release(before_ns, watermark.ns)
            said = Said(*map(np.concatenate, zip(said, rest, strict=True)))
        return said

    def _judge(self, said: Said, alerts: list[Alerts]) -> None:
        rows = self.alerts.apply(said.quotes, self.bars.slices, said.matches, self.watermark.ns, self.books.symbols)
        if len(rows):
            alerts.append(rows)
            self.board.issued(rows)

    def _issue(self, rows: Array, issued: list[Array]) -> None:
        if len(sessions := self.bars.sessions.take()):
            sessions["symbol"] = self.books.symbols[sessions["instrument_id"]]
            self._sessions.append(sessions)
        if self.triggers and len(phases := self.bars.phases.take()):
            phases["symbol"] = self.books.symbols[phases["instrument_id"]]
            self._phases.append(phases)
        if not len(rows):
            return
        rows["symbol"] = self.books.symbols[rows["instrument_id"]]
        issued.append(rows)
        self.showcase.issued(self.bars.measures.bars_of(rows[self.bars.are_tumbling(rows)]))

    def _end_session(self, issued: list[Array], alerts: list[Alerts], quoted: list[Array]) -> None:
        """Nothing goes on: every window that has begun has ended, and every alert. Books and marks stand."""
        self.watermark.end_session()
        self._issue(self.bars.end_session(self.books.clock_ns), issued)
        if self.quoted is not None:
            quoted.append(self.quoted.end_session(self.books.clock_ns))
        rows = self.alerts.begin_session(self.books.clock_ns, self.books.symbols)
        alerts.append(rows)
        self.board.issued(rows)
        if self.matched is not None:
            self.matched.begin_session()

    def _begin_session(
        self, clock_ns: int, anchor_ns: int, issued: list[Array], alerts: list[Alerts], quoted: list[Array]
    ) -> None:
        alerts.append(self.alerts.begin_session(self.books.clock_ns, self.books.symbols))
        self.board.begin_session()
        if self.matched is not None:
            self.matched.begin_session()
        before_ns = self.books.clock_ns
        self._issue(self.bars.begin_session(clock_ns, before_ns, self.books.listings, anchor_ns), issued)
        if self.quoted is not None:
            quoted.append(self.quoted.begin_session(clock_ns, before_ns, anchor_ns))
        self.books.begin_session(clock_ns)
        self.watermark.begin_session(clock_ns)
        self.showcase.begin_session()

    # --- heartbeats ------------------------------------------------------------------------------------------------

    def _beat(self, ingest_ns: int) -> Beat:
        told, bits = self.books.take(UNSAID, self.limits.instruments_told)
        instruments, bars = self._shown_now()
        shown, seen = self.books.take(UNSEEN, instruments)
        traded = shown[seen & CHANGED_TRADE > 0]
        turn = self.showcase.turn(self.watermark.ns, traded, self.live_bars(traded), bars)
        turn.gone["symbol"] = self.books.symbols[turn.gone["instrument_id"]]
        quoted = shown[seen & CHANGED_QUOTE > 0]
        return Beat(
            marks=np.concatenate((self.marks(told[bits & CHANGED_QUOTE > 0], ingest_ns), self._clock_row(ingest_ns))),
            depths=self.depths(told[bits & CHANGED_DEPTH > 0], ingest_ns),
            quotes=self.marks(quoted, ingest_ns),
            opens_e4=self.books.listings["open_e4"][quoted],
            books=self.depths(shown[seen & CHANGED_DEPTH > 0], ingest_ns),
            showcase=turn,
            alerts=self.board.turn(),
        )

    def _shown_now(self) -> tuple[int, int]:
        """How many instruments and closed bars this heartbeat shows."""
        counters = self.books.counters
        ticks = int(counters[book_count.TICKS] - counters[book_count.TICKS_AT_BEAT])
        counters[book_count.TICKS_AT_BEAT] = counters[book_count.TICKS]
        if ticks > self.limits.flood_ticks:
            return self.limits.flood_shown, self.limits.flood_shown
        return self.limits.instruments_shown, self.limits.bars_shown

    def marks(self, ids: Array, ingest_ns: int) -> Marks:
        """Marks of some instruments as they are now."""
        listings, sides = self.books.listings[ids], self.books.sides.reshape(-1, 2)[ids]
        rows = np.zeros(len(ids), MARK)
        rows["symbol"] = self.books.symbols[ids]
        rows["instrument_id"] = ids
        rows["ingest_ns"] = ingest_ns
        for name in ("trading_state", "event_ns", "last_e4", "volume"):
            rows[name] = listings[name]
        for column, side in enumerate(("bid", "ask")):
            rows[f"{side}_e4"] = sides["best_e4"][:, column]
            rows[f"{side}_size"] = sides["best_size"][:, column]
        return rows

    def _clock_row(self, ingest_ns: int) -> Marks:
        row = np.zeros(1, MARK)
        row["instrument_id"] = NO_INSTRUMENT
        row["event_ns"] = self.books.clock_ns
        row["ingest_ns"] = ingest_ns
        return row

    def depths(self, ids: Array, ingest_ns: int) -> Depths:
        """Top-ten depths of some instruments as they are now."""
        levels, counts = self.books.depth(ids)
        rows = np.zeros(len(ids), DEPTH)
        rows["symbol"] = self.books.symbols[ids]
        rows["instrument_id"] = ids
        rows["event_ns"] = self.books.listings["event_ns"][ids]
        rows["ingest_ns"] = ingest_ns
        for column, side in enumerate(("bid", "ask")):
            rows[f"{side}_levels"] = counts[:, column]
            rows[f"{side}s"]["price_e4"] = levels[:, column, :, 0]
            rows[f"{side}s"]["size"] = levels[:, column, :, 1]
        return rows

    def live_bars(self, ids: Array) -> Bars:
        """Content so far of the open windows of some instruments."""
        rows = self.bars.measures.bars_of(self.bars.open_bars(ids))
        rows["symbol"] = self.books.symbols[rows["instrument_id"]]
        return rows

    def live_bars_shown(self) -> Bars:
        """Open bars that are on show, as they are now."""
        rows = self.live_bars(self.showcase.live_ids())
        return rows[self.showcase.shows_open(rows)]

    def anomalies(self) -> dict[str, int]:
        """How often the input was damaged or out of order, by kind."""
        forced = {"watermark_forced": self.watermark.forced}
        return self.books.anomalies() | self.bars.anomalies() | forced

    def accounts(self) -> dict[str, int]:
        """Ticks that tell a trade, counted by what became of them since the state began. Each is in one number."""
        return accounts(self.books, self.bars.counters)

    # --- snapshots -------------------------------------------------------------------------------------------------

    def declaration(self) -> dict[str, Any]:
        """Declaration that the arrays are made under."""
        slides = [list(slide) for slide in self.slides_ns]
        measures = self.bars.measures.declaration()
        return {
            "windows_ns": list(self.windows_ns),
            "slides_ns": slides,
            "measures": measures,
            "alerts": ALERTS_VERSION,
            "quoted": self.quoted.declaration() if self.quoted is not None else {},
            "patterns": self._declared_patterns(),
        }

    def _declared_patterns(self) -> dict[str, Any]:
        return self.matched.declaration() if self.matched is not None else {}

    def arrays(self) -> dict[str, Array]:
        """The whole state by name. Nothing is copied."""
        parts = {name: part.arrays() for name in _PARTS if (part := getattr(self, name)) is not None}
        return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}

    def restore(self, arrays: Mapping[str, Array], declared: Mapping[str, Any]) -> None:
        """Takes over what ``arrays`` gave under ``declared``. Under the same declaration the state then behaves, bit
        for bit, as the one that gave it; else the windows and measures are this object's own.
        """
        parts: dict[str, dict[str, Array]] = {name: {} for name in _PARTS}
        for name, array in arrays.items():
            part, _, own = name.partition(".")
            parts[part][own] = array
        self.books.restore(parts["books"])
        self.watermark.restore(parts["watermark"])
        self.bars.restore(parts["bars"], declared["measures"], self.watermark.ns)
        self.showcase.restore(parts["showcase"])
        has_patterns = declared["patterns"] == self._declared_patterns()
        self.held.restore(parts["held"], has_patterns=has_patterns)
        self.alerts.restore(parts["alerts"], declared["alerts"], has_patterns, len(self.books.listings))
        if self.matched is not None:
            self.matched.restore(parts["matched"], declared["patterns"])
        self.board.restore(parts["board"])
        if self.quoted is not None:
            best = [self.books.sides[name].reshape(-1, 2) for name in ("best_e4", "best_size")]
            quotes = np.stack([best[0][:, 0], best[1][:, 0], best[0][:, 1], best[1][:, 1]], axis=1)
            self.quoted.align(self.bars.anchor_ns)
            self.quoted.restore(parts["quoted"], declared["quoted"], quotes, self.watermark.ns)


_PARTS: Final = ("books", "bars", "showcase", "alerts", "board", "quoted", "matched", "watermark", "held")
_NO_BARS: Final[Bars] = np.zeros(0, BAR)
_NO_LATES: Final[Lates] = np.zeros(0, LATE)
