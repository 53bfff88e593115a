"""Seeded faults in letting a partition begin anew: an operator's command that leaves something out."""

from contextlib import AbstractContextManager
from typing import Any, Final

from streams.model.log import Log, Partition
from streams.opening import beginning

from common.testing.simulation.replacing import replaced


def owner_is_what_the_log_says() -> AbstractContextManager[None]:
    """Whoever the changelog names as its owner is shut out, and the row that named it is among those that are lost."""

    async def wrong(log: Log, stage: str, changelog: Partition) -> None:
        await (await log.fence(f"{stage}.{changelog.number}", [changelog])).close()

    return replaced(beginning, "shut_out", wrong)


def beginning_is_not_registered() -> AbstractContextManager[None]:
    """The register does not say that the changelog has everything again."""
    right = beginning.beginning

    async def wrong(log: Log, changelog: Partition, *arguments: Any, **more: Any) -> Any:
        return {changelog: (await right(log, changelog, *arguments, **more))[changelog]}

    return replaced(beginning, "beginning", wrong)


def positions_are_left_out() -> AbstractContextManager[None]:
    """Rows begin anew, and the inputs are read again from where they begin."""
    right = beginning.beginning

    async def wrong(*arguments: Any, **more: Any) -> Any:
        return await right(*arguments, **{**more, "positions": {}})

    return replaced(beginning, "beginning", wrong)


FAULTS: Final = (
    owner_is_what_the_log_says,
    beginning_is_not_registered,
    positions_are_left_out,
)
