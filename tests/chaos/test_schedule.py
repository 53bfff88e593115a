"""The order of faults is a pure function of the seed, and none is left out."""

from itertools import chain, islice

import pytest
from common.contracts.topics import ORDERS_INTENTS
from streams.process.failpoints import FAILPOINTS, SOURCE_FAILPOINTS
from tidemark.chaos.faults import Fault
from tidemark.chaos.schedule import CATALOGUE, Schedule
from tidemark.chaos.store_faults import STAGES


def names(faults: list[Fault]) -> list[tuple[str, str, str]]:
    return [(fault.title, fault.service, fault.detail) for fault in faults]


def first(seed: int, count: int, *only: str) -> list[Fault]:
    return list(islice(chain.from_iterable(Schedule(seed, only).rounds()), count))


def test_schedule_when_seed_is_the_same_then_faults_are_the_same() -> None:
    assert names(first(7, 100)) == names(first(7, 100))
    assert names(first(7, 100)) != names(first(8, 100))


def test_schedule_when_it_begins_then_every_kind_comes_once() -> None:
    assert {fault.kind for fault in first(3, len(CATALOGUE))} == set(CATALOGUE)


def test_schedule_when_it_lasts_then_every_step_is_struck_in_every_service_that_passes_it() -> None:
    steps = {(fault.service, fault.detail) for fault in Schedule(1).chosen() if fault.kind.endswith("-step")}
    assert steps == {(s, step) for s in ("signals", "risk", "orders") for step in FAILPOINTS} | {
        ("ingest", step) for step in SOURCE_FAILPOINTS
    }
    everything = Schedule(1).chosen()
    assert sorted(fault.service for fault in everything) == sorted(f.service for f in first(9, len(everything)))


def test_schedule_when_a_cluster_is_hurt_then_one_broker_is_lost_before_the_leader() -> None:
    assert [fault.service for fault in first(5, 2, "one-broker")] == ["kafka, follower", "kafka, leader"]


@pytest.mark.parametrize(
    ("only", "kinds", "services"),
    [
        ("kill:risk", {"kill"}, {"risk"}),
        ("commit.4.committed", {"commit-step"}, {"ingest", "signals", "risk", "orders"}),
        ("redis", {"redis"}, {"redis"}),
        ("damaged-store", {"damaged-store"}, {"risk", "orders"}),
        (ORDERS_INTENTS.name, {"foreign-transaction"}, {"risk"}),
        ("no-such-fault", set(), set()),
    ],
)
def test_schedule_when_narrowed_then_only_these(only: str, kinds: set[str], services: set[str]) -> None:
    chosen = Schedule(1, [only]).chosen()
    assert ({fault.kind for fault in chosen}, {fault.service for fault in chosen}) == (kinds, services)


def test_schedule_when_a_state_or_a_log_is_not_what_it_was_then_it_must_refuse_and_nothing_else_must() -> None:
    assert {fault.kind for fault in Schedule(1).chosen() if fault.must_refuse} == {
        "trimmed-changelog",
        "trimmed-gate",
        "recreated-topic",
    }


def test_schedule_when_a_changelog_is_trimmed_then_no_fault_discards_a_store_that_is_the_last_copy() -> None:
    assert "orders.venue" not in STAGES.values()
    assert {fault.service for fault in Schedule(1, ["damaged-store"]).chosen()} == set(STAGES)
