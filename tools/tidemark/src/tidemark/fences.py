"""Fences as an operator sees them: which are raised and why, and how one is lifted."""

import getpass
import socket
import time
from collections.abc import Mapping
from typing import Final

from common.contracts.fences import PLACES_MAX, Fence, fence_key
from common.contracts.topics import AUDITOR_FENCES, RUNTIME_OPERATIONS, Topic
from streams.model.log import Log, Partition, Record

from tidemark.console import CommandError
from tidemark.operations import Operation, carry_out, newest_records

UNREADABLE: Final = "its record cannot be read"


async def fences(log: Log, topic: Topic = AUDITOR_FENCES) -> dict[str, Fence]:
    """Key → the newest word; one that this release cannot read counts as raised, as it does for the stage."""
    found = {}
    for key, value in (await newest_records(log, topic)).items():
        try:
            found[key] = topic.schema.decode(value)
        except ValueError as error:
            stage, _, number = key.partition("/")
            reason = f"{UNREADABLE}: {str(error).splitlines()[0]}"
            found[key] = Fence(stage=stage, partition=int(number) if number else None, raised=True, reason=reason)
    return found


def raised_fence(found: Mapping[str, Fence], stage: str, partition: int | None) -> Fence:
    """The fence that is to be lifted. Raises CommandError where none is raised there."""
    key = fence_key(stage, partition)
    fence = found.get(key)
    if fence is not None and fence.raised:
        return fence
    raised = ", ".join(sorted(key for key, each in found.items() if each.raised))
    raise CommandError(f"no fence {key} is raised; {f'raised are {raised}' if raised else 'none is'}")


def meaning(fence: Fence) -> str:
    """Consequence of lifting the fence, for whoever has to answer for it."""
    which = "every partition" if fence.partition is None else f"partition {fence.partition}"
    places = ", ".join(f"{fence.topic}/{place}" for place in fence.places) or "no place"
    return (
        f"{fence.stage} goes on with {which}: it answers what has waited, and writes behind {places}. What stands "
        "there raises no fence again. The audit goes on naming it, since the ledger stays as it is"
    )


async def lift(
    log: Log, fence: Fence, reason: str, topic: Topic = AUDITOR_FENCES, operations: Topic = RUNTIME_OPERATIONS
) -> None:
    """Lifts it, in one transaction with the record of who did."""
    now_ns = time.time_ns()
    by = f"{getpass.getuser()}@{socket.gethostname()}"
    known = tuple(dict.fromkeys((*fence.known, *fence.places)))[-PLACES_MAX:]
    lifted = fence.model_copy(
        update={"raised": False, "places": (), "known": known, "reason": reason, "by": by, "at_ns": now_ns}
    )
    details = {"raised_for": fence.reason, "places": list(fence.places)}
    operation = Operation(f"fence/{fence.key}/{now_ns}", "fence lifted", reason, details)
    record = Record(fence.key.encode(), topic.schema.encode(lifted), now_ns // 1_000_000)
    await carry_out(log, operation, {Partition(topic.name, 0): [record]}, topic=operations)
