"""Patterns of orders: the compiled engine against a referee in Python, planted episodes, and a benign market maker."""

import csv
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from common.contracts.alerts import AlertLimits, Severity
from common.contracts.ticks import TickKind, Ticks
from common.order_patterns import (
    CANCELLED,
    ENTERED,
    EXECUTED,
    MARKET_CLOSED,
    TRADED,
    Pattern,
    PatternError,
    PatternKey,
    absent,
    either,
    optional,
    repeated,
    sequence,
)
from common.testing.market_flow import directory, flows, row, tick_array
from hypothesis import given, settings
from hypothesis import strategies as st
from signals.domain.abuse_patterns import SHIPPED
from signals.domain.market import MarketState
from signals.domain.snapshot_layouts import LAYOUT_VERSION
from signals.installed import installed_patterns
from signals.offline import Wanted, write_tables
from signals.snapshots import load_market, save_market
from signals.tables import CsvTables
from streams.model.tables import SnapshotLayout

from tests.signals.pattern_referee import PatternReferee, S, Told
from tests.signals.trading_days import AbusedDay

CUTS = st.lists(st.integers(0, 10_000), max_size=6)


def entered(action: Any, _side: int) -> Any:
    return action.kind == ENTERED


def withdrawn(action: Any, _side: int) -> Any:
    return action.kind == CANCELLED and action.left == 0


def executed(action: Any, _side: int) -> Any:
    return action.kind == EXECUTED


def traded(action: Any, _side: int) -> Any:
    return action.kind == TRADED and action.price_e4 > action.last_e4


def closed(action: Any, _side: int) -> Any:
    return action.kind == MARKET_CLOSED


def own(action: Any, side: int) -> Any:
    return action.side == side


def away(action: Any, side: int) -> Any:
    return action.side == side and (action.near_e4 - action.price_e4) * side > 0


def large(action: Any, _side: int) -> Any:
    return action.qty > action.near_size + action.opposite_size // 2


CONDITIONS = st.sampled_from((entered, withdrawn, executed, traded, closed, own, away, large))
STEPS = st.builds(
    repeated,
    CONDITIONS,
    st.integers(1, 4),
    within_ns=st.sampled_from((0, 0, 1, S, 61 * S)),
    without=st.one_of(st.none(), CONDITIONS),
)
PIECES = st.recursive(
    st.one_of(CONDITIONS, STEPS, CONDITIONS.map(absent)),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: sequence(*parts)),
        inner.map(optional),
        st.tuples(inner, inner).map(lambda both: either(*both)),
    ),
    max_leaves=6,
)


def declared(name: str, piece: Any, within_ns: int, key: PatternKey, high: int | None) -> Pattern | None:
    try:
        return Pattern(name, piece, within_ns, key, Severity.LOW, high, 4)
    except PatternError:
        return None


def never(action: Any, _side: int) -> Any:
    return action.kind > 100


POOL = (entered, withdrawn, executed, traded, closed, own, away, large)
POOLED = tuple(
    Pattern(f"A_{key.upper()}", sequence(*POOL, never), 1, key) for key in (PatternKey.INSTRUMENT, PatternKey.SIDE)
)
"""They never match; by them the conditions of each set of patterns are the same, and are compiled once."""


@st.composite
def pattern_sets(draw: st.DrawFn) -> list[Pattern]:
    found: list[Pattern] = []
    for name in ("FIRST", "SECOND"):
        within_ns, key = draw(st.sampled_from((1, S, 62 * S, 400 * S))), draw(st.sampled_from(PatternKey))
        pattern = declared(name, draw(PIECES), within_ns, key, draw(st.sampled_from((None, 2))))
        found += [pattern] if pattern else []
    return found or [Pattern("ONLY", sequence(entered, executed), S)]


def issued(market: MarketState, ticks: Ticks, cuts: Sequence[int] = ()) -> Any:
    edges = [0, *sorted(cut % (len(ticks) + 1) for cut in cuts), len(ticks)]
    rows = np.concatenate([market.apply(ticks[begin:end], 7).alerts for begin, end in pairwise(edges)])
    assert (np.diff(rows["clock_ns"]) >= 0).all()
    return rows


def told_by(rows: Any, names: Sequence[str]) -> list[Told]:
    """As the referee tells it: at the same time by instrument and kind."""
    told = []
    for each in rows:
        kind, phase, severity = (each[name].decode() for name in ("kind", "phase", "severity"))
        clock_ns, begin_ns, peak_ppm = (int(each[name]) for name in ("clock_ns", "begin_ns", "peak_ppm"))
        if kind in names:
            told.append(
                Told(clock_ns, int(each["instrument_id"]), kind, phase, severity, begin_ns, peak_ppm // 1_000_000)
            )
    return sorted(told)


def with_close(ticks: Ticks) -> Ticks:
    """The market closes in the middle, and time goes on at the end."""
    closing = tick_array([row(TickKind.SYSTEM_EVENT, instrument_id=-1, detail=ord("M"))]).copy()
    closing["event_ns"] = ticks["event_ns"][len(ticks) // 2]
    after = tick_array([row(TickKind.HEARTBEAT, instrument_id=-1)]).copy()
    after["event_ns"] = ticks["event_ns"].max() + 20 * S
    whole = np.concatenate((ticks[: len(ticks) // 2], closing, ticks[len(ticks) // 2 :], after))
    whole.flags.writeable = False
    return whole


FEW = (
    Pattern("TURNED", sequence(repeated(entered, 3, within_ns=2 * S), absent(executed), withdrawn), 62 * S, high=2),
    Pattern("SAME_ORDER", sequence(entered, withdrawn), 62 * S, PatternKey.ORDER),
    Pattern(
        "SIDES",
        sequence(repeated(own, 2, without=traded), optional(executed), absent(own), closed),
        *(200 * S, PatternKey.SIDE),
    ),
    Pattern(
        "EITHER", sequence(either(traded, executed), absent(entered), optional(large), away), 62 * S, PatternKey.SIDE
    ),
)


@settings(deadline=None, max_examples=100)
@given(flows(damaged=True, disorder=True, size=50), pattern_sets(), CUTS)
def test_matches_when_any_patterns_and_ticks_then_those_of_the_referee(
    ticks: Ticks, patterns: list[Pattern], cuts: list[int]
) -> None:
    ticks, names = with_close(ticks), [pattern.name for pattern in patterns]
    told = told_by(issued(MarketState(patterns=(*POOLED, *patterns)), ticks, cuts), names)
    assert told == PatternReferee(patterns).apply(ticks)


def random_ticks(seed: int, size: int = 160) -> Ticks:
    """Orders that enter and leave, and trades, a few hundred milliseconds apart."""
    random, rows, resting, at = np.random.default_rng(seed), directory(["SYM0", "SYM1"]), list[int](), 0
    for ref in range(1, size):
        at += int(random.integers(0, S // 2))
        step, qty = int(random.integers(-5, 6)), int(random.integers(1, 500))
        fields = {"instrument_id": ref % 2, "price_e4": 1_000_000 + 100 * step, "qty": qty}
        what = random.random()
        if what < 0.5 or not resting:
            rows.append(row(TickKind.ADD, at, order_ref=ref, side=b"BS"[int(random.integers(2))], **fields))
            resting.append(ref)
        elif what < 0.9:
            gone = resting.pop(int(random.integers(len(resting))))
            kind = TickKind.DELETE if what < 0.8 else TickKind.EXECUTED
            rows.append(row(kind, at, order_ref=gone, instrument_id=gone % 2, qty=1, aux_ref=ref))
        else:
            rows.append(row(TickKind.TRADE, at, aux_ref=ref, **fields))
    return with_close(tick_array(rows))


@pytest.mark.parametrize("seed", range(6))
def test_matches_when_many_orders_come_and_go_then_those_of_the_referee(seed: int) -> None:
    ticks, names = random_ticks(seed), [pattern.name for pattern in FEW]
    told = told_by(issued(MarketState(patterns=FEW), ticks, [60, 61, 120]), names)
    assert told == PatternReferee(list(FEW)).apply(ticks)


def test_random_ticks_when_followed_by_a_few_patterns_then_each_begins_and_ends_in_some() -> None:
    rows = np.concatenate([issued(MarketState(patterns=FEW), random_ticks(seed)) for seed in range(6)])
    found = {(told.kind, told.phase) for told in told_by(rows, [pattern.name for pattern in FEW])}
    assert found >= {(pattern.name, phase) for pattern in FEW for phase in ("begin", "end")} | {("TURNED", "rise")}


# --- restarts, partitions ------------------------------------------------------------------------------------------


def restored(market: MarketState, patterns: Sequence[Pattern]) -> MarketState:
    layout = SnapshotLayout("signals.market.market", LAYOUT_VERSION, market.declaration())
    with TemporaryDirectory() as path:
        save_market(market, Path(path))
        return load_market(Path(path), layout, lambda: MarketState(patterns=patterns))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**9), st.integers(0, 10_000))
def test_matches_when_saved_and_loaded_in_the_middle_then_the_rest_is_the_same_bit_for_bit(seed: int, cut: int) -> None:
    ticks = random_ticks(seed)
    cut %= len(ticks) + 1
    through, first = MarketState(patterns=FEW), MarketState(patterns=FEW)
    assert issued(through, ticks[:cut]).tobytes() == issued(first, ticks[:cut]).tobytes()
    second = restored(first, FEW)
    assert issued(second, ticks[cut:]).tobytes() == issued(through, ticks[cut:]).tobytes()
    left, right = through.arrays(), second.arrays()
    assert {name: array.tobytes() for name, array in left.items()} == {name: a.tobytes() for name, a in right.items()}


def test_snapshot_when_patterns_are_others_then_alerts_of_the_table_go_on_and_the_rest_begins_anew() -> None:
    ticks = random_ticks(3)
    eager = AlertLimits({"SPREAD_WIDENING": 0.5, "PRICE_SPIKE": 0.5}, samples_min=2, hold_ns=3_600 * S)
    before = MarketState(patterns=FEW, alert_limits=eager)
    issued(before, ticks[:-2])
    assert {name for name, times in before.alerts.open_by_kind().items() if times} & {pattern.name for pattern in FEW}
    judged = {name: times for name, times in before.alerts.open_by_kind().items() if name not in {p.name for p in FEW}}
    assert any(judged.values())
    after = restored(before, FEW[:2])
    assert after.alerts.open_by_kind() == judged | {"SAME_ORDER": 0, "TURNED": 0}
    without = restored(before, ())
    assert without.alerts.open_by_kind() == judged
    assert told_by(issued(without, ticks[-2:]), [pattern.name for pattern in FEW]) == []


@pytest.mark.parametrize("seed", range(4))
def test_matches_when_instruments_are_dealt_to_partitions_then_each_tells_what_the_whole_tells(seed: int) -> None:
    ticks = random_ticks(seed)
    whole = issued(MarketState(patterns=FEW), ticks)
    for partition in range(2):
        mine = ticks[(ticks["instrument_id"] < 0) | (ticks["instrument_id"] % 2 == partition)]
        told = issued(MarketState(patterns=FEW), mine)
        assert sorted(told.tolist()) == sorted(whole[whole["instrument_id"] % 2 == partition].tolist())


# --- what is shipped -------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**9))
def test_shipped_patterns_when_a_market_maker_quotes_then_none_matches(seed: int) -> None:
    ticks = AbusedDay(seed).ticks()
    assert told_by(issued(MarketState(patterns=tuple(SHIPPED.values())), ticks), list(SHIPPED)) == []


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**9), st.sampled_from(sorted(SHIPPED)), st.sampled_from((1, -1)))
def test_shipped_patterns_when_an_episode_is_planted_then_it_and_nothing_else_is_found(
    seed: int, name: str, side: int
) -> None:
    day = AbusedDay(seed, name, side)
    told = told_by(issued(MarketState(patterns=tuple(SHIPPED.values())), day.ticks()), list(SHIPPED))
    begun = [each for each in told if each.phase == "begin"]
    assert [(each.kind, each.instrument) for each in begun] == [(name, day.abused)]
    assert day.begin_ns <= begun[0].clock_ns <= day.end_ns


REFEREED = {name: pattern for name, pattern in SHIPPED.items() if name != "QUOTE_STUFFING"}
"""A step that is repeated 250 times takes the referee too long."""


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**9), st.sampled_from(sorted(REFEREED)), st.sampled_from((1, -1)))
def test_shipped_patterns_when_any_day_then_those_of_the_referee(seed: int, name: str, side: int) -> None:
    ticks = AbusedDay(seed, name, side, seconds=4).ticks()
    told = told_by(issued(MarketState(patterns=tuple(SHIPPED.values())), ticks), list(REFEREED))
    assert told == PatternReferee(list(REFEREED.values())).apply(ticks)


def test_offline_run_when_patterns_are_asked_for_then_its_alerts_are_those_of_the_partitions(tmp_path: Path) -> None:
    ticks, shipped = AbusedDay(5, "LAYERING").ticks(), tuple(SHIPPED.values())
    with CsvTables(tmp_path) as tables:
        wanted = Wanted(alert_limits=AlertLimits(), patterns=shipped, partitions=2)
        assert write_tables([ticks], tables, wanted).alerts
        tables.keep()
    with (tmp_path / "alerts.csv").open() as file:
        written = sorted((row["symbol"], row["kind"], row["clock_ns"], row["phase"]) for row in csv.DictReader(file))
    rows = issued(MarketState(patterns=shipped), ticks)
    names = ("symbol", "kind", "clock_ns", "phase")
    assert "LAYERING" in {kind for _, kind, *_ in written}
    assert written == sorted(
        tuple(cell.decode() if isinstance(cell, bytes) else str(cell) for cell in row)
        for row in rows[list(names)].tolist()
    )


# --- declarations ----------------------------------------------------------------------------------------------------


def of(limit: int) -> Any:
    return lambda action, side: action.qty > limit


@pytest.mark.parametrize(
    ("piece", "why"),
    [
        (absent(entered), "before the first step"),
        (sequence(entered, absent(executed)), "after the last step"),
        (sequence(optional(entered), absent(executed), withdrawn), "before the first step"),
        (optional(entered), "1 to 16 steps"),
        (repeated(sequence(entered, withdrawn), 9), "1 to 16 steps"),
        (sequence(entered, *(optional(executed) for _ in range(4))), "at most 8 ways"),
        (of(3), "encloses values"),
    ],
)
def test_pattern_when_it_cannot_work_then_it_is_refused_with_the_reason(piece: Any, why: str) -> None:
    with pytest.raises(PatternError, match=why):
        Pattern("WRONG", piece, S)


@pytest.mark.parametrize("name", ["", "lower", "OF_MORE_THAN_16_C", "PRICE_SPIKE"])
def test_pattern_when_its_name_is_none_or_that_of_another_alert_then_it_is_refused(name: str) -> None:
    with pytest.raises(PatternError, match="no name of a pattern"):
        Pattern(name, entered, S)


def test_repetition_when_it_cannot_work_then_it_is_refused_with_the_reason() -> None:
    with pytest.raises(PatternError, match="1 to 4096 times"):
        repeated(entered, 0)
    with pytest.raises(PatternError, match="only a condition"):
        repeated(sequence(entered, executed), 2, within_ns=S)
    with pytest.raises(PatternError, match="within a time"):
        Pattern("ENDLESS", entered, 0)


def test_patterns_when_two_have_one_name_then_the_market_does_not_start() -> None:
    with pytest.raises(PatternError, match="two patterns are named"):
        MarketState(patterns=(FEW[0], FEW[0]))


def test_installed_patterns_when_named_then_shipped_and_offered_ones_in_order() -> None:
    pytest.importorskip("tidemark_examples", reason="offers a pattern to whoever has it installed")
    assert [pattern.name for pattern in installed_patterns(["FLEETING", "LAYERING"])] == ["FLEETING", "LAYERING"]
    with pytest.raises(PatternError, match="0 packages offer the pattern 'NONE'; installed are: FLEETING, IGNITION"):
        installed_patterns(["NONE"])
