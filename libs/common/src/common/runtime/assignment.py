"""Who serves which partitions of a stage, and who follows which: dealt out by the group's leader.

Serving is dealt by ranges, as ever. Who follows is not stored or negotiated, it follows from the same rule: whoever
would be given a partition if up to ``standbys`` of the members were gone. So the one who inherits a partition is the
one who has followed it. It travels beside the assignment, in the bytes that the protocol leaves to the assignor
(``user_data``), under the name ``range``: members of a version without standbys can be in the same group.
What a member says when it joins stays the same, or a static member's quick restart would deal everything out anew.
"""

import itertools
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

Deal = Callable[[Sequence[str]], Mapping[str, Collection[int]]]
"""Members → who serves which partitions."""


class Assignment(NamedTuple):
    """The partitions of a process: those it serves, and those of others for which it keeps a store."""

    served: frozenset[int]
    followed: frozenset[int] = frozenset()


def heirs(deal: Deal, members: Sequence[str], standbys: int) -> dict[str, set[int]]:
    """Member → partitions that it would inherit if up to ``standbys`` of the others were gone at once."""
    served = deal(members)
    followed: dict[str, set[int]] = {member: set() for member in members}
    for count in range(1, min(standbys, len(members) - 1) + 1):
        for gone in itertools.combinations(members, count):
            for member, partitions in deal([m for m in members if m not in gone]).items():
                followed[member] |= set(partitions) - set(served[member])
    return followed


class StandbyAssignor(RangePartitionAssignor):  # type: ignore[misc]
    """Deals served partitions by range and adds the followed ones. aiokafka calls it like its own assignor classes."""

    def __init__(self, standbys: int) -> None:
        self.followed: frozenset[int] = frozenset()
        self._standbys = standbys

    def assign(self, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]) -> dict[str, Any]:
        """As the leader, for every member."""

        def deal(present: Sequence[str]) -> dict[str, set[int]]:
            dealt = RangePartitionAssignor.assign(cluster, {member: members[member] for member in present})
            return {member: {tp.partition for tp in share.partitions()} for member, share in dealt.items()}

        followed = heirs(deal, sorted(members), self._standbys)
        return {
            member: ConsumerProtocolMemberAssignment(
                share.version, share.assignment, json.dumps(sorted(followed[member])).encode()
            )
            for member, share in RangePartitionAssignor.assign(cluster, members).items()
        }

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Takes note. A leader without standbys says nothing."""
        self.followed = frozenset(json.loads(assignment.user_data)) if assignment.user_data else frozenset()
