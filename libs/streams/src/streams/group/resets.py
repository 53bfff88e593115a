"""Offsets of the group that somebody else has set: they have no effect, and whoever did it is told so.

The positions that count are in the changelog, in the transaction of what was handled. The group's offsets are a copy
for lag tools; the usual way to process again, resetting them, would otherwise do nothing without a word.
"""

from collections.abc import Mapping
from typing import Final

from streams.group.membership import Membership
from streams.model.log import Partition
from streams.process.logs import get_logger

_log = get_logger(__name__)
NO_EFFECT: Final = (
    "the stage's positions are in its changelog: setting the group's offsets has no effect; "
    "`tidemark stage seek` and `tidemark stage reset` move them"
)


class ResetWatch:
    """Looks once at each partition that the stage has begun to serve; the group's tools refuse while it does."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._seen: set[Partition] = set()

    async def look(self, membership: Membership, positions: Mapping[Partition, int]) -> None:
        """Before the positions are reported. Raises Retriable, and looks again then."""
        new = positions.keys() - self._seen
        if new:
            for partition, offset in sorted((await membership.set_by_others(new)).items()):
                if 0 <= offset != positions[partition]:
                    _log.warning(
                        "group_offset_ignored",
                        stage=self._stage,
                        topic=partition.topic,
                        partition=partition.number,
                        group_offset=offset,
                        position=positions[partition],
                        reason=NO_EFFECT,
                    )
        self._seen = set(positions)
