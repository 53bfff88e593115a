"""Owners and followers of a stage's partitions: dealt out by the group's leader.

Serving is dealt by ranges, as ever. Who follows is not stored or negotiated, it follows from the same rule: whoever
would be given a partition if up to ``standbys`` of the members were gone. So the one who inherits a partition is the
one who has followed it. It travels beside the assignment, in the bytes that the protocol leaves to the assignor
(``user_data``), under the name ``range``: members of a version without standbys can be in the same group. So do the
names of all workers: nobody waits for an owner that is none of them to give a partition back.
What a member says when it joins, its name, stays the same, or its quick restart would deal everything out anew.
Only one that cannot serve some partitions, because its disk refuses, adds their numbers: they go to somebody else.
"""

import itertools
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

Deal = Callable[[Sequence[str]], Mapping[str, Collection[int]]]
"""Members → who serves which partitions."""


class Assignment(NamedTuple):
    """The partitions of a process: those it serves, and those of others for which it keeps a store.

    ``workers``: ids of all members; empty where the leader does not say.
    """

    served: frozenset[int]
    followed: frozenset[int] = frozenset()
    workers: frozenset[str] = frozenset()


def heirs(deal: Deal, members: Sequence[str], standbys: int) -> dict[str, set[int]]:
    """Member → partitions that it would inherit if up to ``standbys`` of the others were gone at once."""
    served = deal(members)
    followed: dict[str, set[int]] = {member: set() for member in members}
    for count in range(1, min(standbys, len(members) - 1) + 1):
        for gone in itertools.combinations(members, count):
            for member, partitions in deal([m for m in members if m not in gone]).items():
                followed[member] |= set(partitions) - set(served[member])
    return followed


def avoiding(dealt: Mapping[str, Collection[int]], unable: Mapping[str, Collection[int]]) -> dict[str, set[int]]:
    """Gives each partition that its member cannot serve to the one with the fewest that can; else it stays.

    ``unable``: member → partitions that it cannot serve.
    """
    served = {member: set(partitions) for member, partitions in dealt.items()}
    for member in sorted(served):
        for partition in sorted(served[member] & set(unable.get(member, ()))):
            able = [other for other in sorted(served) if partition not in unable.get(other, ())]
            if able:
                served[member].discard(partition)
                served[min(able, key=lambda other: len(served[other]))].add(partition)
    return served


class StandbyAssignor(RangePartitionAssignor):  # type: ignore[misc]
    """Deals served partitions by range and adds the followed ones. aiokafka calls it like its own assignor classes."""

    def __init__(self, worker_id: str, standbys: int) -> None:
        self.followed: frozenset[int] = frozenset()
        self.workers: frozenset[str] = frozenset()
        self.unable: frozenset[int] = frozenset()
        self.said_unable: frozenset[int] = frozenset()
        """The value of ``unable`` that the group was told with the newest join."""
        self.heard_unable: frozenset[int] = frozenset()
        """The value of ``unable`` that the newest deal was made with."""
        self._repeats = 0
        self.strangers: tuple[str, ...] = ()
        self.led_by_worker = True
        self._worker_id = worker_id
        self._standbys = standbys

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """This member's data for the leader when it joins.

        A broker deals anew only where these data are others than before. What has to be said again, because the deal
        was made without it, has one more blank at its end.
        """
        self._repeats += self.unable == self.said_unable != self.heard_unable
        self.said_unable = self.unable
        numbers = [json.dumps(sorted(self.unable)) + " " * self._repeats] if self.unable or self._repeats else []
        said = "\n".join([self._worker_id, *numbers])
        return ConsumerProtocolMemberMetadata(self.version, list(topics), said.encode())

    def assign(self, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]) -> dict[str, Any]:
        """As the leader, for every member. Only workers of the stage are dealt partitions."""
        workers = {member: metadata for member, metadata in members.items() if is_worker(metadata)}
        said = {member: metadata.user_data.decode().partition("\n") for member, metadata in workers.items()}
        unable = {member: frozenset(json.loads(numbers)) for member, (_, _, numbers) in said.items() if numbers}

        def deal(present: Sequence[str]) -> dict[str, set[int]]:
            dealt = RangePartitionAssignor.assign(cluster, {member: members[member] for member in present})
            by_range = {member: {tp.partition for tp in share.partitions()} for member, share in dealt.items()}
            return avoiding(by_range, unable)

        followed = heirs(deal, sorted(workers), self._standbys)
        names = sorted(name for name, _, _ in said.values())
        refused = {said[member][0]: sorted(numbers) for member, numbers in unable.items()}
        strangers = sorted(members.keys() - workers.keys())
        served = deal(sorted(workers))
        nothing = ConsumerProtocolMemberAssignment(self.version, [], b"")
        assigned = dict.fromkeys(strangers, nothing)
        for member, share in RangePartitionAssignor.assign(cluster, workers).items():
            follows = sorted(followed[member] - unable.get(member, frozenset()))
            told = {"followed": follows, "workers": names, "strangers": strangers, "unable": refused}
            topics = [
                (topic, sorted(served[member] & (cluster.partitions_for_topic(topic) or set())))
                for topic in sorted(workers[member].subscription)
            ]
            shares = topics if unable else share.assignment
            assigned[member] = ConsumerProtocolMemberAssignment(share.version, shares, json.dumps(told).encode())
        return assigned

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Takes note. A leader that says nothing is no worker of the stage."""
        try:
            told = json.loads(assignment.user_data or b"{}")
        except ValueError:
            told = None
        if not isinstance(told, dict):  # some other assignor's
            told = {}
        self.led_by_worker = "workers" in told
        self.followed = frozenset(told.get("followed", ()))
        self.workers = frozenset(told.get("workers", ()))
        self.strangers = tuple(told.get("strangers", ()))
        known = told.get("unable")  # a leader of an earlier release does not say it
        self.heard_unable = self.said_unable if known is None else frozenset(known.get(self._worker_id, ()))


def is_worker(metadata: ConsumerProtocolMemberMetadata) -> bool:
    """Workers say who they are when they join. Whoever reads along with the stage's group id says nothing there."""
    return bool(metadata.user_data)
