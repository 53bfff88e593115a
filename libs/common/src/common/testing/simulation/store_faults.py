"""Seeded faults in dealing with a store that is damaged, or with a disk that refuses."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from streams.commit import lane, transaction
from streams.opening import layout
from streams.stage import given_up, task
from streams.state import overlay, store
from streams.state.store_errors import CorruptStore
from streams.testing import memory_store

from common.testing.simulation.log_faults import together
from common.testing.simulation.replacing import replaced


def damaged_store_is_kept() -> AbstractContextManager[None]:
    """A damaged store is opened again as it is."""

    async def wrong(_self: task.Task, _damage: CorruptStore) -> None:
        """Keeps it."""

    return replaced(task.Task, "_discard_store", wrong)


def undecodable_row_is_poison() -> AbstractContextManager[None]:
    """A stored row that cannot be decoded is taken for the fault of the message that needs it."""

    def wrong(table: str, _raw: bytes | None, error: Exception) -> Exception:
        return ValueError(f"{table}: {error}")

    return together(replaced(overlay, "undecodable", wrong), replaced(layout, "_look", lambda *_: None))


def store_trouble_ends_the_session() -> AbstractContextManager[None]:
    """A store that cannot be read fails the transaction of every task of the process."""
    right = transaction.commit

    async def wrong(producer: Any, works: Sequence[transaction.Work], notes: Sequence[transaction.Note] = ()) -> Any:
        outcomes, ends = await right(producer, works, notes)
        for outcome in outcomes:
            if isinstance(outcome, OSError):
                raise outcome
        return outcomes, ends

    return replaced(lane, "commit", wrong)


def sick_worker_keeps_its_partitions() -> AbstractContextManager[None]:
    """A worker that cannot open a store goes on trying, and tells nobody."""
    return replaced(given_up.GivenUp, "_give_up", lambda *_: None)


def damaged_position_ends_the_process() -> AbstractContextManager[None]:
    """A row of the runtime's own that is no number is an error that no new opening mends."""

    def wrong(_key: bytes, value: bytes) -> int:
        return int(value)

    return together(replaced(store, "number_in", wrong), replaced(memory_store, "number_in", wrong))


FAULTS: Final = (
    damaged_store_is_kept,
    undecodable_row_is_poison,
    store_trouble_ends_the_session,
    sick_worker_keeps_its_partitions,
    damaged_position_ends_the_process,
)
