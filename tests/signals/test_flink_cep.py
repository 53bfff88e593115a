"""Patterns of orders: the compiled engine against Flink CEP on the same actions."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import pytest
from common.contracts.ticks import Ticks
from common.order_patterns import Pattern, absent, repeated, sequence
from signals.domain.abuse_patterns import SHIPPED
from signals.domain.layout import Array
from signals.domain.market import MarketState
from signals.domain.pattern_matches import PatternMatches

from tests.signals.cep_referee import Completed, Match, alerts_of, completed_by_flink, first_completed, matches_of
from tests.signals.pattern_referee import PatternReferee, S
from tests.signals.test_order_patterns import FEW, entered, executed, issued, random_ticks, told_by, traded, withdrawn
from tests.signals.trading_days import AbusedDay, RestlessDay

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
BETWEEN = Pattern(
    "BETWEEN", sequence(traded, absent(executed), repeated(withdrawn, 2), absent(entered), executed), 62 * S
)
OF_TESTS = {pattern.name: pattern for pattern in (*FEW, BETWEEN) if pattern.name != "SIDES"}
"""SIDES cannot be said to Flink: it forbids one kind of action within a loop, and its other steps are of kinds that the
loop has to pass over.
"""
PLANTED = tuple(product(sorted(SHIPPED), (1, -1)))


@dataclass(frozen=True)
class Trial:
    """Ticks of a market, and what Flink found in the actions that they make."""

    patterns: Mapping[str, Pattern]
    ticks: Ticks
    actions: Array
    unskipped: Sequence[Completed]
    """Whatever completes a pattern."""
    past_last: Sequence[Completed]
    """Less what Flink skips by its strategy PAST_LAST_EVENT."""

    def of_flink(self) -> list[Match]:
        return first_completed(self.unskipped, self.actions)

    def of_engine(self) -> list[Match]:
        ordered = sorted(self.patterns.values(), key=lambda pattern: pattern.name)
        rows = PatternMatches(ordered, 0).apply(self.actions)
        columns = (rows[name].tolist() for name in ("kind", "instrument_id", "at", "start_ns"))
        return sorted(Match(ordered[kind].name, *rest) for kind, *rest in zip(*columns, strict=True))


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Trial]]:
    """By name; the JVM is started once for all of them."""
    ticks = {
        "planted": [AbusedDay(seed, name, side, seconds=2).ticks() for seed, (name, side) in enumerate(PLANTED)],
        "benign": [AbusedDay(seed, seconds=3).ticks() for seed in range(100, 102)],
        "restless": [RestlessDay(seed).ticks() for seed in range(24)],
        "random": [random_ticks(seed) for seed in range(12)],
    }
    listed = [(name, each) for name, group in ticks.items() for each in group]
    rules = {name: ("tests", OF_TESTS) if name == "random" else ("shipped", SHIPPED) for name in ticks}
    actions = [PatternReferee([]).actions(each) for _, each in listed]
    groups = [rules[name][0] for name, _ in listed]
    found = completed_by_flink(list(zip(groups, actions, strict=True)), tmp_path_factory.mktemp("cep"))
    made: dict[str, list[Trial]] = {name: [] for name in ticks}
    for number, (name, each) in enumerate(listed):
        completed = (found[skip, number] for skip in ("NONE", "PAST_LAST_EVENT"))
        made[name].append(Trial(rules[name][1], each, actions[number], *completed))
    return made


def every(trials: Mapping[str, Sequence[Trial]]) -> Iterator[Trial]:
    return (trial for group in trials.values() for trial in group)


def test_matches_when_flink_follows_the_same_actions_then_symbol_begin_and_end_of_each_are_the_same(
    trials: dict[str, list[Trial]],
) -> None:
    for trial in every(trials):
        assert trial.of_engine() == trial.of_flink()


def test_alerts_when_made_of_ticks_then_those_of_the_matches_that_flink_found(trials: dict[str, list[Trial]]) -> None:
    for trial in every(trials):
        market = MarketState(patterns=tuple(trial.patterns.values()))
        told = told_by(issued(market, trial.ticks), list(trial.patterns))
        assert told == alerts_of(trial.of_flink(), trial.actions, trial.patterns, int(trial.ticks["event_ns"].max()))


def test_flink_when_an_episode_is_planted_then_it_and_nothing_else_is_found(trials: dict[str, list[Trial]]) -> None:
    found = [{match.pattern for match in trial.of_flink()} for trial in trials["planted"]]
    assert found == [{name} for name, _ in PLANTED]
    assert [trial.of_flink() for trial in trials["benign"]] == [[], []]


def test_trials_when_all_are_counted_then_each_pattern_matches_often_enough_to_be_compared(
    trials: dict[str, list[Trial]],
) -> None:
    counts = Counter(match.pattern for trial in every(trials) for match in trial.of_flink())
    assert counts.keys() == {*SHIPPED, *OF_TESTS}
    assert min(counts.values()) >= 5


# --- Flink's own way to go on after a match ------------------------------------------------------------------------


def test_shipped_patterns_when_flink_skips_past_the_last_event_then_the_same_actions_complete_them(
    trials: dict[str, list[Trial]],
) -> None:
    for trial in (*trials["planted"], *trials["benign"]):
        skipped = matches_of(trial.past_last, trial.actions)
        assert [match[:3] for match in skipped] == [match[:3] for match in trial.of_engine()]


def test_flink_when_an_earlier_beginning_is_still_open_then_it_holds_a_match_back_and_may_drop_it(
    trials: dict[str, list[Trial]],
) -> None:
    """The engine tells a match at the action that completes it (ADR 83)."""
    ours = [match for trial in trials["random"] for match in trial.of_engine() if match.pattern == "TURNED"]
    turned = [
        match
        for trial in trials["random"]
        for match in matches_of(trial.past_last, trial.actions)
        if match.pattern == "TURNED"
    ]
    assert 0 < len(turned) < len(ours)
