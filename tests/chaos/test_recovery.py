"""How long things stood still, computed from outputs whose times are known."""

import pytest
from tidemark.chaos.recovery import Incident, Lane, Pulses, neighbours, table
from tidemark.chaos.report import HEADINGS, markdown

S = 1_000_000_000
HIT, BESIDE = Lane("risk", 0), Lane("risk", 1)


def seen(pulses: Pulses, lane: Lane, *times: tuple[float, float]) -> None:
    for seen_s, cause_s in times:
        pulses.note(lane, int(seen_s * S), int(cause_s * S))


def incident(**fields: object) -> Incident:
    base = Incident("kill", "risk", hit={HIT}, struck_ns=10 * S, counted_ns=10 * S)
    for name, value in fields.items():
        setattr(base, name, value)
    return base


def test_recovery_when_an_older_request_is_answered_first_then_it_does_not_count() -> None:
    pulses = Pulses()
    seen(pulses, HIT, (9, 8.9), (13, 9.9), (14, 10.1))
    hurt = incident()
    assert hurt.conclude(pulses)
    assert hurt.recovery_s == 4.0


def test_recovery_when_one_of_two_lanes_stands_still_then_it_has_not_come() -> None:
    pulses = Pulses()
    seen(pulses, HIT, (11, 10.5))
    seen(pulses, BESIDE, (11, 9.5))
    hurt = incident(hit={HIT, BESIDE})
    assert not hurt.conclude(pulses)
    assert hurt.recovery_s is None
    assert hurt.standing(pulses) == [BESIDE]
    seen(pulses, BESIDE, (16, 15))
    assert hurt.conclude(pulses)
    assert hurt.recovery_s == 6.0


def test_recovery_when_counted_from_the_heal_then_outputs_for_what_was_sent_before_do_not_count() -> None:
    pulses = Pulses()
    seen(pulses, HIT, (12, 11), (21, 20.5))
    hurt = incident(from_heal=True, counted_ns=20 * S)
    assert hurt.conclude(pulses)
    assert hurt.recovery_s == 1.0


@pytest.mark.parametrize(
    ("times", "pause_s"),
    [
        ((9.5, 10.5, 11, 14, 14.5), 3.0),  # within
        ((6, 13, 14, 15), 7.0),  # begun before
        ((9.9, 10.2), 4.8),  # to the end
        ((), 5.0),  # nothing at all
        ((3, 30), 27.0),  # over the whole window
    ],
)
def test_pause_when_outputs_are_these_then_the_longest_gap_over_the_window(
    times: tuple[float, ...], pause_s: float
) -> None:
    pulses = Pulses()
    seen(pulses, BESIDE, *((at, at) for at in times if at < 15))
    late = [at for at in times if at > 15]
    end_s = late[0] if late else 15
    assert pulses.pause_ns(BESIDE, 10 * S, int(end_s * S)) == pytest.approx(pause_s * S)


def test_pulses_when_forgotten_then_the_last_one_before_still_bounds_the_pause() -> None:
    pulses = Pulses()
    seen(pulses, BESIDE, (1, 1), (8, 8), (12, 12))
    pulses.forget(10 * S)
    assert pulses.recovered_ns(BESIDE, 0) == 8 * S
    assert pulses.pause_ns(BESIDE, 10 * S, 12 * S) == 4 * S


def test_neighbours_when_a_partition_of_the_gate_is_hit_then_what_it_feeds_is_none() -> None:
    lanes = {Lane(name, n) for name in ("ingest", "signals", "risk", "orders") for n in (0, 1)} | {Lane("postgres")}
    assert neighbours(lanes, {HIT}) == lanes - {HIT, Lane("orders", 0), Lane("postgres")}


def test_neighbours_when_a_whole_service_is_hit_then_those_that_live_by_it_are_none() -> None:
    lanes = {Lane("ingest"), Lane("signals"), Lane("risk"), Lane("redis"), Lane("push")}
    assert neighbours(lanes, {Lane("ingest")}) == {Lane("risk")}


def test_table_when_a_fault_struck_three_times_then_median_and_worst() -> None:
    struck = [incident(recovered_ns=at * S, neighbours_pause_ns=at * S // 10) for at in (11, 12, 19)]
    struck.append(incident(trouble="stood still", lost=2, duplicates=1))
    (row,) = table(struck)
    assert row == {
        "fault": "kill",
        "service": "risk",
        "incidents": 4,
        "refused": None,
        "counted_from": "injection",
        "recovery_p50_s": 2.0,
        "recovery_max_s": 9.0,
        "not_recovered": 1,
        "lost": 2,
        "duplicates": 1,
        "neighbours_pause_max_s": 1.9,
    }
    *_, last = markdown([row]).splitlines()
    assert last == "| kill | risk | 4 | – | 2.0 s | 9.0 s, 1 never | injection | 2 | 1 | 1.9 s |"
    assert last.count("|") == len(HEADINGS) + 1


def test_table_when_a_fault_must_be_refused_then_how_often_it_was() -> None:
    struck = [incident(fault="trimmed", refused=was, from_heal=True, recovered_ns=12 * S) for was in (True, False)]
    (row,) = table(struck)
    assert (row["refused"], row["counted_from"]) == (1, "heal")
    *_, last = markdown([row]).splitlines()
    assert last == "| trimmed | risk | 2 | 1 | 2.0 s | 2.0 s | heal | 0 | 0 | – |"
