"""The bench of what identities and TLS cost: what it makes of its turns, and whose CPU it counts."""

import os
import subprocess
import sys
from typing import Any

from tidemark.load.driver import Tally
from tidemark.load.latency import ClockSummary
from tidemark.process import cpu_seconds

from bench.harness import CpuMeter, cpu_with_children
from bench.secure import ALL, ROUND, Figures, grown, rows, turn_rows

MS_NS = 1_000_000
CHILD = """
import subprocess, sys, time
work = "import time\\nwhile time.process_time() < 0.3: pass\\nprint(flush=True)\\ninput()"
child = subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(flush=True)
input()
child.communicate(b"\\n")
print(flush=True)
input()
"""
"""A process whose child works for 0.3 s of CPU time and stays, and, at a line, ends."""


def figures(*turns: tuple[dict[str, float], float, int]) -> Figures:
    """``turns``: CPU seconds by process, milliseconds to each verdict, and how many there were."""
    made = Figures(at_push=ClockSummary(12.0, 30.0, 7))
    for cpu_s, verdict_ms, orders in turns:
        tally = Tally()
        for _ in range(orders):
            tally.answered.record_ns(int(verdict_ms * MS_NS))
            tally.processed.record_ns(int(verdict_ms * MS_NS / 2))
        made.add("open", tally, cpu_s, 1.5)
    return made


def by_name(found: list[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    return {row["what"]: tuple(row.values())[1:] for row in found}


def test_rows_when_one_process_takes_too_much_more_then_it_is_a_miss_and_the_path_is_met() -> None:
    before = figures(({"risk": 1.0, "push": 1.0, "kafka": 8.0}, 10.0, 100))
    after = figures(({"risk": 1.2, "push": 1.1, "kafka": 9.0}, 10.8, 100))
    found = by_name(rows(before, after))
    assert found["CPU ms an order, risk"] == (10.0, 12.0, "+20.0%", "+15%", "MISSED")
    assert found["CPU ms an order, push"] == (10.0, 11.0, "+10.0%", "+15%", "met")
    assert found["CPU ms an order, kafka"] == (80.0, 90.0, "+12.5%", "", "")
    assert found[f"CPU ms an order, {ALL}"] == (100.0, 113.0, "+13.0%", "+15%", "met")
    assert found["verdict, p50 ms"][2:] == ("+0.80 ms", "+1 ms", "met")
    assert found["verdict, p99 ms"][3:] == ("", "")
    assert found["at push, p50 ms"] == (12.0, 12.0, "+0.00 ms", "", "")


def test_rows_when_the_verdict_comes_later_than_it_may_then_it_is_a_miss() -> None:
    cpu_s = {"risk": 1.0, "push": 1.0}
    found = by_name(rows(figures((cpu_s, 10.0, 100)), figures((cpu_s, 11.5, 100))))
    assert found["verdict, p50 ms"][-1] == "MISSED"


def test_rows_when_open_fleets_are_further_apart_than_the_limit_then_the_clock_is_not_judged() -> None:
    cpu_s = {"risk": 1.0, "push": 1.0}
    found = by_name(rows(figures((cpu_s, 10.0, 100), (cpu_s, 15.0, 100)), figures((cpu_s, 12.0, 200))))
    assert found["verdict, p50 ms"][3:] == ("+1 ms", "open: 5 ms apart")
    assert found[f"CPU ms an order, {ALL}"][-1] == "met"


def test_figures_when_turns_have_different_numbers_of_orders_then_every_order_weighs_the_same() -> None:
    found = figures(({"risk": 1.0}, 10.0, 100), ({"risk": 1.0}, 30.0, 300))
    assert found.cpu_ms_per_order() == {"risk": 5.0, ALL: 5.0}
    first, second, apart = turn_rows(found.turns)
    assert (first["CPU ms an order"], second["CPU ms an order"], apart["CPU ms an order"]) == (10.0, 3.33, 6.67)
    assert (apart["fleet"], round(apart["verdict, p50 ms"]), apart["processors in use"]) == ("open, apart by", 20, 0.0)


def test_round_then_each_kind_stands_as_early_as_the_other_and_twice() -> None:
    places = {name: [place for place, each in enumerate(ROUND) if each == name] for name in ROUND}
    assert {len(found) for found in places.values()} == {2}
    assert len({sum(found) for found in places.values()}) == 1


def test_grown_when_something_takes_longer_then_it_comes_first_and_what_takes_less_is_in_the_sum_alone() -> None:
    found = grown("function", {"send": 100.0, "idle": 50.0}, {"send": 130.0, "idle": 20.0, "encrypt": 80.0})
    assert [tuple(row.values()) for row in found] == [("encrypt", 0, 80), ("send", 100, 130), (ALL, 150, 230)]


def test_cpu_when_a_process_works_in_a_child_then_it_is_the_processes_whether_the_child_lives_or_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        for _ in range(2):
            process.stdout.readline()
            assert cpu_with_children()[process.pid] >= 0.3 + cpu_seconds(process.pid) - 0.02
            process.stdin.write(b"\n")
            process.stdin.flush()


def test_meter_when_it_counts_this_process_then_without_the_fleet_whose_parent_it_is() -> None:
    meter = CpuMeter({"bench": os.getpid()})
    meter.start()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)
    assert meter.read()["bench"] < 0.3
