"""Market alerts: the compiled engine against a referee in Python, planted episodes, and what a calm market raises."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from common.contracts.alerts import ALERT, ALERT_RULES, AlertKind, AlertLimits, AlertSettingError
from common.contracts.ticks import TickKind, Ticks
from common.testing.market_flow import SESSION_NS, directory, flows, price, row, tick_array
from hypothesis import example, given, settings
from hypothesis import strategies as st
from signals.domain.market import MarketState
from signals.domain.snapshot_layouts import LAYOUT_VERSION
from signals.snapshots import load_market, save_market
from streams.model.tables import SnapshotLayout

from tests.signals.alert_referee import Referee, assert_same, told_by

S = 1_000_000_000
CUTS = st.lists(st.integers(0, 10_000), max_size=6)
EAGER = AlertLimits(
    {
        "PRICE_SPIKE": 1.0371,
        "VOLUME_SURGE": 1.2713,
        "COMBINED": 0.3717,
        "SPREAD_WIDENING": 1.1317,
        "HIGH_VOLATILITY": 0.00037,
        "PRICE_JUMP": 0.000337,
        "STALE_FEED": 1.6713,
    },
    samples_min=2,
    hold_ns=3 * S,
    silence_min_ns=2 * S,
)
"""Thresholds that anything trips over, and that no number of small integers is equal to."""


def issued(market: MarketState, ticks: Ticks, cuts: Sequence[int] = ()) -> Any:
    edges = [0, *sorted(cut % (len(ticks) + 1) for cut in cuts), len(ticks)]
    return np.concatenate([market.apply(ticks[begin:end], 7).alerts for begin, end in pairwise(edges)])


def restored(market: MarketState) -> MarketState:
    layout = SnapshotLayout("signals.market.market", LAYOUT_VERSION, market.declaration())
    with TemporaryDirectory() as path:
        save_market(market, Path(path))
        return load_market(Path(path), layout, lambda: MarketState(alert_limits=market.alert_limits))


class RandomMarket:
    """Quotes and trades of a few instruments, second by second, with spells of quiet and of excess. Orders are deleted
    and entered anew, so that quotes go anywhere, through each other too.
    """

    def __init__(self, seed: int, seconds: int, instruments: int = 3) -> None:
        self.random = np.random.default_rng(seed)
        self.rows = directory([f"SYM{i}" for i in range(instruments)])
        self.refs = self.matches = 0
        self.quotes: dict[tuple[int, str], int] = {}
        self.middle = [int(self.random.integers(200, 40_000)) for _ in range(instruments)]
        for second in range(seconds):
            for instrument in range(instruments):
                self._second(instrument, second * S)

    def _second(self, instrument: int, at: int) -> None:
        random, excess = self.random, self.random.random() < 0.04
        if random.random() < 0.02:
            state = b"THPQT"[random.integers(5)]
            self.rows.append(row(TickKind.TRADING_ACTION, at, instrument_id=instrument, detail=state))
        if random.random() < 0.004:
            self.rows.append(row(TickKind.SYSTEM_EVENT, at, instrument_id=-1, detail=b"QMQ"[random.integers(3)]))
        if random.random() < 0.35:
            return
        self.middle[instrument] = max(10, self.middle[instrument] + int(random.normal() * (300 if excess else 2)))
        if random.random() < 0.7:
            half = int(random.integers(1, 4)) * (12 if random.random() < 0.05 else 1)
            half -= 6 if random.random() < 0.03 else 0
            self._quote(instrument, "B", self.middle[instrument] - half, at + 1)
            self._quote(instrument, "S", self.middle[instrument] + half, at + 2)
        for _ in range(int(random.poisson(1.2))):
            self.matches += 1
            qty = int(random.integers(1, 50)) * 100 * (40 if excess else 1)
            moment = at + int(random.integers(0, S))
            fields = {"instrument_id": instrument, "aux_ref": self.matches, "qty": qty}
            self.rows.append(row(TickKind.TRADE, moment, price_e4=int(self.middle[instrument]) * 100, **fields))
            if random.random() < 0.03:
                self.rows.append(row(TickKind.BROKEN_TRADE, moment, instrument_id=instrument, aux_ref=self.matches))

    def _quote(self, instrument: int, side: str, step: int, at: int) -> None:
        if (old := self.quotes.pop((instrument, side), 0)) and self.random.random() < 0.97:
            self.rows.append(row(TickKind.DELETE, at, instrument_id=instrument, order_ref=old))
        if self.random.random() < 0.98:
            self.refs += 1
            fields = {"order_ref": self.refs, "price_e4": max(1, step) * 100, "side": ord(side), "qty": 100}
            self.rows.append(row(TickKind.ADD, at, instrument_id=instrument, **fields))
            self.quotes[instrument, side] = self.refs

    def ticks(self) -> Ticks:
        """In the order of time but for trades of one second, which come as they were drawn."""
        beats = [row(TickKind.HEARTBEAT, 4_000 * S, instrument_id=-1)]
        return tick_array([*self.rows, *beats])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**9), st.sampled_from([EAGER, AlertLimits(samples_min=5), AlertLimits()]), CUTS)
@example(635, EAGER, [3_204])  # a batch ends between the end of the market's hours and the end of that second
def test_alerts_when_any_market_then_those_of_the_referee(seed: int, limits: AlertLimits, cuts: list[int]) -> None:
    ticks = RandomMarket(seed, 420).ticks()
    assert_same(told_by(issued(MarketState(alert_limits=limits), ticks, cuts)), Referee(limits).apply(ticks))


@settings(deadline=None, max_examples=150)
@given(flows(damaged=True, disorder=True, size=200), CUTS)
def test_alerts_when_ticks_are_damaged_and_late_then_those_of_the_referee(ticks: Ticks, cuts: list[int]) -> None:
    market = MarketState(alert_limits=EAGER, lateness_ns=1 << 62)
    assert_same(told_by(issued(market, ticks, cuts)), Referee(EAGER).apply(ticks))


def test_random_markets_then_every_kind_begins_rises_and_ends_in_them() -> None:
    markets = [RandomMarket(seed, 420).ticks() for seed in range(6)]
    rows = np.concatenate([issued(MarketState(alert_limits=EAGER), ticks) for ticks in markets])
    assert {kind.decode() for kind in rows["kind"]} == set(AlertKind)
    assert {phase.decode() for phase in rows["phase"]} == {"begin", "rise", "end"}


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**9), st.integers(0, 10_000))
def test_alerts_when_saved_and_loaded_in_the_middle_then_the_rest_is_the_same_bit_for_bit(seed: int, cut: int) -> None:
    ticks = RandomMarket(seed, 200).ticks()
    cut %= len(ticks) + 1
    through, first = MarketState(alert_limits=EAGER), MarketState(alert_limits=EAGER)
    assert issued(through, ticks[:cut]).tobytes() == issued(first, ticks[:cut]).tobytes()
    second = restored(first)
    assert issued(second, ticks[cut:]).tobytes() == issued(through, ticks[cut:]).tobytes()
    left, right = through.arrays(), second.arrays()
    assert {name: array.tobytes() for name, array in left.items()} == {name: a.tobytes() for name, a in right.items()}


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**9))
def test_alerts_when_instruments_are_dealt_to_partitions_then_each_tells_what_the_whole_tells(seed: int) -> None:
    ticks = RandomMarket(seed, 300).ticks()
    whole = issued(MarketState(alert_limits=EAGER), ticks)
    for partition in range(2):
        mine = ticks[(ticks["instrument_id"] < 0) | (ticks["instrument_id"] % 2 == partition)]
        told = issued(MarketState(alert_limits=EAGER), mine)
        for instrument in range(partition, 3, 2):
            rows = whole[whole["instrument_id"] == instrument]
            assert told[told["instrument_id"] == instrument].tobytes() == rows.tobytes()
    assert len(whole)


# --- planted episodes -------------------------------------------------------------------------------------------------


class Day:
    """One instrument, calm: a trade of 100 shares and a quote of two cents each second."""

    def __init__(self) -> None:
        self.rows = [*directory(["A"]), *self._quote(0, 0, 1, -1)]
        self.refs, self.matches, self.at = 2, 0, 0

    def _quote(self, at: int, refs: int, bid_and_ask: int, low: int) -> list[dict[str, int]]:
        return [
            row(TickKind.ADD, at, instrument_id=0, order_ref=refs + n, price_e4=price(step), side=ord(side), qty=100)
            for n, side, step in ((1, "B", low), (2, "S", bid_and_ask))
        ]

    def seconds(self, count: int, *, step: int | None = None, qty: int = 100, low: int = -1, high: int = 1) -> None:
        """``step``: price of the trade, in cents above 100; else one up and down in turn."""
        for _ in range(count):
            self.at += 1
            self.matches += 1
            at, last = self.at * S, (1 if self.at % 2 else -1) if step is None else step
            refs = [self.refs - 1, self.refs]
            self.rows += [row(TickKind.DELETE, at, instrument_id=0, order_ref=ref) for ref in refs]
            self.rows += self._quote(at, self.refs, high, low)
            self.refs += 2
            fields = {"instrument_id": 0, "price_e4": price(last), "aux_ref": self.matches}
            self.rows.append(row(TickKind.TRADE, at, qty=qty, **fields))

    def silence(self, seconds: int) -> None:
        self.at += seconds
        self.rows.append(row(TickKind.HEARTBEAT, self.at * S, instrument_id=-1))

    def told(self, **thresholds: float) -> list[tuple[Any, ...]]:
        """Alerts issued until half a minute after the last second. Its silence is only told where it is asked for."""
        self.silence(30)
        limits = AlertLimits({"STALE_FEED": 1e6} | thresholds)
        rows = issued(MarketState(alert_limits=limits), tick_array(self.rows))
        return [
            (
                *(one[name].decode() for name in ("kind", "phase", "severity")),
                *(int(one[name] - SESSION_NS) // S if one[name] else 0 for name in ("begin_ns", "peak_ns", "end_ns")),
            )
            for one in rows
        ]


def test_calm_market_when_an_hour_long_then_raises_none() -> None:
    day = Day()
    day.seconds(3_600)
    day.rows.append(row(TickKind.SYSTEM_EVENT, day.at * S, instrument_id=-1, detail=ord("M")))
    assert day.told(STALE_FEED=20) == []


def test_price_spike_when_it_goes_on_for_seconds_then_one_episode_with_begin_peak_and_end() -> None:
    day = Day()
    day.seconds(100)
    for step in (4, 5, 5, 4):
        day.seconds(1, step=step)
    day.seconds(40)
    told = [one for one in day.told() if one[0] == "PRICE_SPIKE"]
    assert told == [
        ("PRICE_SPIKE", "begin", "MEDIUM", 102, 102, 0),
        ("PRICE_SPIKE", "end", "MEDIUM", 102, 103, 105),
    ]


def test_price_spike_when_it_grows_then_its_severity_rises_within_the_episode() -> None:
    day = Day()
    day.seconds(100)
    day.seconds(1, step=4)
    day.seconds(1, step=20)
    day.seconds(20)
    told = [one for one in day.told() if one[0] == "PRICE_SPIKE"]
    assert [one[1:3] for one in told] == [("begin", "MEDIUM"), ("rise", "CRITICAL"), ("end", "CRITICAL")]


def test_combined_when_neither_price_nor_volume_is_enough_then_it_is_raised_alone() -> None:
    day = Day()
    day.seconds(100)
    day.seconds(1, step=-3, qty=400)
    day.seconds(20)
    assert [one[:2] for one in day.told()] == [("COMBINED", "begin"), ("COMBINED", "end")]


def test_combined_when_price_and_volume_are_enough_for_their_own_then_it_is_not_shadowed() -> None:
    day = Day()
    day.seconds(100)
    day.seconds(1, step=5, qty=900)
    day.seconds(20)
    begun = {one[0] for one in day.told() if one[1] == "begin"}
    assert begun == {"PRICE_SPIKE", "VOLUME_SURGE", "COMBINED"}


def test_spread_when_wide_until_a_message_narrows_it_then_the_episode_lasts_as_long() -> None:
    day = Day()
    day.seconds(100)
    day.seconds(3, low=-4, high=4)
    day.silence(4)
    day.seconds(60)
    told = [one for one in day.told() if one[0] == "SPREAD_WIDENING"]
    assert told == [
        ("SPREAD_WIDENING", "begin", "LOW", 102, 102, 0),
        ("SPREAD_WIDENING", "end", "LOW", 102, 102, 109),
    ]


def test_book_when_crossed_in_continuous_trading_then_said_and_when_halted_then_not() -> None:
    day = Day()
    day.seconds(50)
    day.seconds(2, low=3, high=1)
    day.seconds(20)
    day.rows.append(row(TickKind.TRADING_ACTION, day.at * S, instrument_id=0, detail=ord("H")))
    day.seconds(5, low=3, high=1)
    told = [one for one in day.told() if one[0] == "CROSSED_BOOK"]
    assert told == [("CROSSED_BOOK", "begin", "HIGH", 52, 52, 0), ("CROSSED_BOOK", "end", "HIGH", 52, 52, 54)]


def test_feed_when_a_busy_symbol_falls_silent_then_stale_until_its_next_message() -> None:
    day = Day()
    day.seconds(100)
    day.silence(50)
    day.seconds(10)
    told = [one for one in day.told(STALE_FEED=21) if one[0] == "STALE_FEED"]
    assert told[:2] == [("STALE_FEED", "begin", "HIGH", 122, 122, 0), ("STALE_FEED", "end", "HIGH", 122, 152, 152)]


def test_volatility_and_jump_when_the_price_leaves_then_each_is_said_with_its_numbers() -> None:
    day = Day()
    day.seconds(100)
    day.seconds(5, step=600)
    day.silence(30)
    rows = issued(MarketState(), tick_array(day.rows))
    begun = {one["kind"].decode(): one for one in rows if one["phase"] == b"begin"}
    jump, volatility = begun["PRICE_JUMP"], begun["HIGH_VOLATILITY"]
    assert (jump["price_e4"], jump["mean_price_e4"], jump["peak_ppm"]) == (price(600), price(0), 60_000)
    assert volatility["peak_ppm"] == pytest.approx(58_300, abs=200)
    assert (volatility["severity"], jump["severity"]) == (b"HIGH", b"HIGH")


def test_session_when_it_begins_then_every_episode_ends_and_baselines_are_empty() -> None:
    day = Day()
    day.seconds(100)
    day.seconds(1, step=50)
    market = MarketState()
    begun = issued(market, tick_array([*day.rows, row(TickKind.HEARTBEAT, 102 * S, instrument_id=-1)]))
    assert set(begun["phase"]) == {b"begin"}
    ended = issued(market, tick_array([row(TickKind.SYSTEM_EVENT, 0, instrument_id=-1, detail=ord("O"))]))
    assert set(ended["phase"]) == {b"end"}
    assert issued(market, tick_array([*day.rows[:-40], row(TickKind.HEARTBEAT, 90 * S, instrument_id=-1)])).size == 0


@pytest.mark.parametrize(
    "setting", [{"thresholds": {"SPIKE": 1}}, {"thresholds": {"COMBINED": -1}}, {"samples_min": 1}]
)
def test_limits_when_of_no_kind_or_no_number_then_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(AlertSettingError):
        AlertLimits(**setting)


def test_table_then_it_has_every_kind_and_each_number_is_a_column() -> None:
    assert [rule.kind for rule in ALERT_RULES] == list(AlertKind)
    for rule in ALERT_RULES:
        assert set(rule.numbers) <= set(ALERT.names or ())
