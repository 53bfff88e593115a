"""Settings that a topic should have, how others are told from them, and which differences endanger money."""

from dataclasses import replace

import pytest
from common.contracts.topics import (
    MD_MARKS,
    ORDERS_INTENTS,
    RISK_GATE_CHANGELOG,
    RISK_LEDGER,
    STAGES,
    TOPICS,
    Topic,
    with_dead_letters,
)
from hypothesis import given
from hypothesis import strategies as st
from streams.kafka.topic_settings import FoundTopic, drifts, settings_of

EVERY = with_dead_letters(TOPICS)
CHANGELOG, LEDGER, INPUT, MARKS = RISK_GATE_CHANGELOG, RISK_LEDGER, ORDERS_INTENTS, MD_MARKS


def as_created(topic: Topic, replicas: int = 1, /, **other: str) -> FoundTopic:
    settings = {setting.name: setting.value for setting in settings_of(topic, replicas)}
    return FoundTopic(
        topic.partitions, replicas, settings | {key.replace("_", "."): value for key, value in other.items()}
    )


@given(topic=st.sampled_from(EVERY), brokers=st.integers(1, 5))
def test_topic_as_it_is_created_then_nothing_differs(topic: Topic, brokers: int) -> None:
    assert list(drifts(topic, as_created(topic, min(3, brokers)), brokers)) == []


@given(topic=st.sampled_from(EVERY), data=st.data())
def test_setting_that_differs_when_it_is_set_then_nothing_differs(topic: Topic, data: st.DataObject) -> None:
    wanted = {setting.name: setting.value for setting in settings_of(topic, 1)}
    values = st.sampled_from(["0", "1", "-1", "false", "true", "compact", "delete", "compact,delete", str(2**40)])
    numbers = st.sampled_from(["0", "1", "-1", "1000", str(2**40)])
    policies = st.sampled_from(["compact", "delete", "compact,delete"])
    kinds = {"cleanup.policy": policies, "unclean.leader.election.enable": values}
    found = {name: data.draw(kinds.get(name, numbers), name) for name in wanted}
    differing = list(drifts(topic, FoundTopic(topic.partitions, 1, found), 1))
    mended = found | {each.setting: each.wanted for each in differing if each.can_be_set}
    assert list(drifts(topic, FoundTopic(topic.partitions, 1, mended), 1)) == []


@pytest.mark.parametrize(
    ("topic", "found"),
    [
        (CHANGELOG, {"cleanup_policy": "delete"}),
        (CHANGELOG, {"cleanup_policy": "compact,delete"}),
        (CHANGELOG, {"delete_retention_ms": "60000"}),
        (STAGES, {"cleanup_policy": "delete"}),
        (LEDGER, {"retention_ms": "604800000"}),
        (LEDGER, {"retention_bytes": "1000000"}),
        (LEDGER, {"cleanup_policy": "compact"}),
        (INPUT, {"cleanup_policy": "compact"}),
    ],
)
def test_setting_that_loses_rows_or_entries_then_it_endangers_money(topic: Topic, found: dict[str, str]) -> None:
    (drift,) = drifts(topic, as_created(topic, 1, **found), 1)
    assert drift.endangers
    assert "`tidemark topics fix`" in str(drift)


@pytest.mark.parametrize(
    ("topic", "found"),
    [
        (CHANGELOG, {"retention_ms": "604800000"}),
        (CHANGELOG, {"max_message_bytes": "500000"}),
        (INPUT, {"retention_ms": "3600000"}),
        (INPUT, {"retention_bytes": "1000000"}),
        (INPUT, {"unclean_leader_election_enable": "true"}),
        (MARKS, {"cleanup_policy": "delete"}),
    ],
)
def test_setting_that_loses_nothing_yet_then_it_is_a_warning(topic: Topic, found: dict[str, str]) -> None:
    (drift,) = drifts(topic, as_created(topic, 1, **found), 1)
    assert not drift.endangers


@pytest.mark.parametrize("partitions", [1, 3, 5, 8])
def test_partitions_that_differ_then_they_endanger_money_and_no_setting_mends_them(partitions: int) -> None:
    (drift,) = drifts(INPUT, as_created(INPUT)._replace(partitions=partitions), 1)
    assert drift.endangers
    assert not drift.can_be_set
    assert "`tidemark topics diff`" in str(drift)


@pytest.mark.parametrize(
    ("replicas", "in_sync", "is_said"), [(3, "2", False), (3, "1", True), (1, "2", True), (2, "3", True)]
)
def test_replicas_in_sync_when_too_few_or_more_than_there_are_then_it_is_said(
    replicas: int, in_sync: str, is_said: bool
) -> None:
    found = as_created(LEDGER, replicas, min_insync_replicas=in_sync)
    assert any(drift.setting == "min.insync.replicas" for drift in drifts(LEDGER, found, replicas)) == is_said


def test_changelog_by_its_place_when_its_schema_does_not_say_so_then_it_is_held_to_the_same() -> None:
    plain = replace(CHANGELOG, schema=INPUT.schema)
    found = as_created(CHANGELOG, cleanup_policy="delete")
    assert [drift.endangers for drift in drifts(plain, found, 1, holds_state=True)] == [True]


def test_topic_whose_settings_the_broker_does_not_show_then_only_its_partitions_are_judged() -> None:
    assert list(drifts(LEDGER, FoundTopic(LEDGER.partitions, 1, {}), 1)) == []
