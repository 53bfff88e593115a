"""Patterns by Flink CEP: order actions to a file, Flink's matches back. The patterns are written for Flink by hand."""

import subprocess
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.books.layout import CANCELLED, ENTERED, EXECUTED, MARKET_CLOSED, TRADED
from common.order_patterns import Pattern

from bench.peers.jvm import java_program
from bench.peers.programs import FLINK
from tests.signals.pattern_referee import Episodes, Told

WITHIN_S = 600
KINDS = {
    ENTERED: "ENTERED",
    CANCELLED: "CANCELLED",
    EXECUTED: "EXECUTED",
    TRADED: "TRADED",
    MARKET_CLOSED: "MARKET_CLOSED",
}
NUMBERS = ("clock_ns", "order_ref", "price_e4", "qty", "left")
TOUCH = ("near_e4", "near_size", "opposite_e4", "opposite_size", "last_e4")


class Match(NamedTuple):
    """A pattern matches at the action ``end_at``. ``begin_ns``: when the latest possible first action came."""

    pattern: str
    instrument: int
    end_at: int
    begin_ns: int


class Completed(NamedTuple):
    """A row of Flink's: in the one ``way``, by the actions of one ``key``, a rule is completed at ``end_at``."""

    rule: str
    key: tuple[str, ...]
    end_at: int
    way: int
    begin_at: int


Found = Mapping[tuple[str, int], Sequence[Completed]]
"""By Flink's strategy after a match, and by trial."""


def completed_by_flink(trials: Sequence[tuple[str, Any]], directory: Path) -> Found:
    """``trials``: a group of rules (``shipped``, ``tests``) and ACTION rows, each a market of its own. Flink is started
    once for all of them.
    """
    file = directory / "actions.tsv"
    with file.open("w") as lines:
        for trial, (group, actions) in enumerate(trials):
            for at, action in enumerate(actions):
                place = (KINDS[int(action["kind"])], action["instrument_id"], action["side"])
                print(group, trial, at, *place, *(action[name] for name in (*NUMBERS, *TOUCH)), sep="\t", file=lines)
    command = [*java_program("FlinkCep", "flink_jars", FLINK), f"actions={file}"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WITHIN_S)
    assert ran.returncode == 0, ran.stderr[-4_000:]
    found = defaultdict[tuple[str, int], list[Completed]](list)
    for line in ran.stdout.splitlines():
        word, skip, rule, way, market, *key, end_at, begin_at = line.split("\t")
        assert word == "MATCH", line
        found[skip, int(market)].append(Completed(rule, tuple(key), int(end_at), int(way), int(begin_at)))
    return found


def first_completed(completed: Sequence[Completed], actions: Any) -> list[Match]:
    """A match is what is completed first, whenever it began; no action up to its end is part of another one."""
    ends: dict[tuple[str, ...], int] = {}
    matches = []
    for each in sorted(completed, key=lambda each: (each.end_at, each.way)):
        name = (each.rule, *each.key)
        if each.begin_at > ends.get(name, -1):
            ends[name] = each.end_at
            matches.append(_match(each, actions))
    return sorted(matches)


def matches_of(completed: Sequence[Completed], actions: Any) -> list[Match]:
    """Rows of a strategy that has forgotten by itself."""
    return sorted(_match(each, actions) for each in completed)


def _match(each: Completed, actions: Any) -> Match:
    return Match(each.rule, int(each.key[0]), each.end_at, int(actions["clock_ns"][each.begin_at]))


def alerts_of(matches: Sequence[Match], actions: Any, patterns: Mapping[str, Pattern], end_ns: int) -> list[Told]:
    """Alerts that the matches make, until ``end_ns``."""
    episodes = Episodes()
    for match in sorted(matches, key=lambda each: each.end_at):
        clock_ns = int(actions["clock_ns"][match.end_at])
        episodes.reach(clock_ns)
        episodes.match(patterns[match.pattern], match.instrument, clock_ns)
    episodes.reach(end_ns)
    return sorted(episodes.told)
