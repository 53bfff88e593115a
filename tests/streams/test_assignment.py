"""Followers of a partition are those who would inherit it, and every member is told beside its own share."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from hypothesis import given
from hypothesis import strategies as st
from streams.group.assignment import StandbyAssignor, avoiding, heirs


def by_range(partitions: int) -> Callable[[Sequence[str]], dict[str, set[int]]]:
    """The deal of aiokafka's assignor."""
    cluster: Any = SimpleNamespace(partitions_for_topic=lambda _topic: set(range(partitions)))

    def deal(members: Sequence[str]) -> dict[str, set[int]]:
        asking = {member: RangePartitionAssignor.metadata(["input"]) for member in members}
        dealt = RangePartitionAssignor.assign(cluster, asking)
        return {member: {tp.partition for tp in share.partitions()} for member, share in dealt.items()}

    return deal


@given(
    members=st.sets(st.text("abcdef", min_size=1, max_size=3), min_size=2, max_size=6),
    partitions=st.integers(1, 12),
    standbys=st.integers(1, 2),
    gone=st.data(),
)
def test_members_when_some_are_gone_then_whoever_inherits_a_partition_has_followed_it(
    members: set[str], partitions: int, standbys: int, gone: st.DataObject
) -> None:
    deal = by_range(partitions)
    followed, served = heirs(deal, sorted(members), standbys), deal(sorted(members))
    count_max = min(standbys, len(members) - 1)
    leaving = gone.draw(st.sets(st.sampled_from(sorted(members)), min_size=1, max_size=count_max))
    for member, now in deal(sorted(members - leaving)).items():
        assert now <= served[member] | followed[member]
    assert all(not followed[member] & served[member] for member in members)


def test_assignor_when_it_leads_then_each_member_is_told_what_to_follow_and_who_is_there() -> None:
    leader = StandbyAssignor("worker-a", 1)
    cluster: Any = SimpleNamespace(partitions_for_topic=lambda _topic: {0, 1, 2, 3})
    members = {name: StandbyAssignor(f"worker-{name}", 1).metadata(["input", "other"]) for name in ("a", "b")}
    assert members["a"] == leader.metadata(["input", "other"]), "a restart must change nothing"
    told = {}
    for name, assignment in leader.assign(cluster, members).items():
        member = StandbyAssignor(f"worker-{name}", 1)
        member.on_assignment(ConsumerProtocolMemberAssignment.decode(assignment.encode()))
        told[name] = ({tp.partition for tp in assignment.partitions()}, set(member.followed))
        assert member.workers == {"worker-a", "worker-b"}
    assert told == {"a": ({0, 1}, {2, 3}), "b": ({2, 3}, {0, 1})}


def test_assignor_when_the_leader_knows_no_standbys_then_nothing_is_followed() -> None:
    cluster: Any = SimpleNamespace(partitions_for_topic=lambda _topic: {0, 1})
    member = StandbyAssignor("worker-a", 1)
    dealt = RangePartitionAssignor.assign(cluster, {name: member.metadata(["input"]) for name in ("a", "b")})
    member.on_assignment(dealt["a"])
    assert (member.followed, member.workers) == (frozenset(), frozenset())


@given(
    dealt=st.dictionaries(st.sampled_from("abcd"), st.just(0), min_size=1),
    partitions=st.integers(1, 8),
    data=st.data(),
)
def test_partitions_when_their_members_cannot_serve_them_then_somebody_who_can_does(
    dealt: dict[str, int], partitions: int, data: st.DataObject
) -> None:
    served = by_range(partitions)(sorted(dealt))
    numbers = st.frozensets(st.integers(0, partitions - 1))
    unable = {member: data.draw(numbers) for member in data.draw(st.sets(st.sampled_from(sorted(dealt))))}
    found = avoiding(served, unable)
    assert sorted(p for given in found.values() for p in given) == list(range(partitions)), "each is served once"
    for member, given_to in found.items():
        for partition in given_to & unable.get(member, frozenset()):
            assert all(partition in unable.get(other, ()) for other in dealt), "nobody can"
    if not any(unable.values()):
        assert found == served


def test_assignor_when_a_member_cannot_serve_a_partition_then_it_neither_serves_nor_follows_it() -> None:
    leader = StandbyAssignor("worker-a", 1)
    cluster: Any = SimpleNamespace(partitions_for_topic=lambda _topic: {0, 1, 2, 3})
    sick = StandbyAssignor("worker-b", 1)
    sick.unable = frozenset({2})
    members = {"a": leader.metadata(["input", "other"]), "b": sick.metadata(["input", "other"])}
    dealt = leader.assign(cluster, members)
    for name, served in (("a", {0, 1, 2}), ("b", {3})):
        share = ConsumerProtocolMemberAssignment.decode(dealt[name].encode())
        assert {(tp.topic, tp.partition) for tp in share.partitions()} == {
            (topic, number) for topic in ("input", "other") for number in served
        }
        member = StandbyAssignor(f"worker-{name}", 1)
        member.on_assignment(share)
        assert member.workers == {"worker-a", "worker-b"}
        assert member.followed == ({3} if name == "a" else {0, 1})
