"""Fences: the auditor's word that a stage must stand still, since what it has written is proven to be broken.

A record of ``auditor.fences`` is the newest word on one partition of a stage, or on all of it. Only the auditor raises
a fence, and only an operator lifts one. A lifted one stays in the log: the places that it lists as ``known`` raise no
fence again, and the stage may go on behind them.
"""

from typing import Annotated, Final

from pydantic import Field, StringConstraints

from common.contracts.events import Event
from common.contracts.personal import Personal
from common.contracts.values import TimestampNs

PLACES_MAX: Final = 256
"""Places that a record names of each kind, the newest."""
Place = Annotated[str, StringConstraints(pattern=r"^[0-9]+/[0-9]+$")]
"""``partition/offset``."""


class Fence(Event):
    """Whether a partition of a stage must stand still, and why."""

    stage: str = Field(description="app and stage, for instance risk.gate")
    partition: int | None = Field(default=None, description="absent: every partition of the stage")
    raised: bool
    topic: str = Field(default="", description="the stage's output that the places are of")
    reason: Annotated[str, Personal.TEXT] = ""
    places: tuple[Place, ...] = Field(default=(), description="what it was raised for; empty once it is lifted")
    known: tuple[Place, ...] = Field(default=(), description="what an operator has looked at, and lifted a fence from")
    by: Annotated[str, Personal.TEXT] = ""
    at_ns: TimestampNs = 0

    @property
    def key(self) -> str:
        """Key of its record."""
        return fence_key(self.stage, self.partition)


def fence_key(stage: str, partition: int | None) -> str:
    """``risk.gate/2``, or ``risk.gate`` for all of it."""
    return stage if partition is None else f"{stage}/{partition}"
