"""Troubles of PostgreSQL, in the few words that decide what is done about it."""

from enum import StrEnum
from typing import Final

import asyncpg


class Trouble(StrEnum):
    """Closed; each is tried again, the question is for whom and what an operator is told."""

    AWAY = "away"
    """It does not answer, or closes connections."""
    SLOW = "slow"
    """It took the request and did not answer in time."""
    BUSY = "busy"
    """All connections of this process are in use."""
    READ_ONLY = "read-only"
    """A standby, or a server that was told to take no writes."""
    FULL = "full"
    """No room, no memory or no connections left."""
    FORBIDDEN = "forbidden"
    """The role may not do it, or may not come in."""
    SCHEMA = "schema"
    """A table or a column is not what this program made."""
    NEWER = "newer-schema"
    """The schema was made by a later version of this program."""
    ROW = "row"
    """A row that no record can have become: it was changed by hand."""
    BEHIND = "behind"
    """The projection does not have yet what is asked for, or cannot tell."""
    UNEXPECTED = "unexpected"
    """Anything else that PostgreSQL says."""


class DatabaseAway(ConnectionError):
    """PostgreSQL does not do what it is asked at present: nothing of the transaction happened."""

    def __init__(self, trouble: Trouble, text: str) -> None:
        super().__init__(text)
        self.trouble = trouble


class RowRefused(ValueError):
    """PostgreSQL does not take the rows that it is given: they are too large for their columns, or there already."""


_TROUBLES: Final[tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Trouble], ...]] = (
    (asyncpg.ReadOnlySQLTransactionError, Trouble.READ_ONLY),
    (asyncpg.InsufficientResourcesError, Trouble.FULL),
    ((asyncpg.InsufficientPrivilegeError, asyncpg.InvalidAuthorizationSpecificationError), Trouble.FORBIDDEN),
    ((asyncpg.InvalidCatalogNameError, asyncpg.CannotConnectNowError), Trouble.AWAY),
    ((asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError, TimeoutError), Trouble.SLOW),
    # Statements prepared before a rebuild: prepared anew on the next connection.
    ((asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError), Trouble.AWAY),
    (asyncpg.SyntaxOrAccessError, Trouble.SCHEMA),
    (
        (
            asyncpg.PostgresConnectionError,
            asyncpg.OperatorInterventionError,
            asyncpg.TransactionRollbackError,
            asyncpg.IdleInTransactionSessionTimeoutError,
            asyncpg.PostgresSystemError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,  # what a statement meets on a connection that is just breaking
            OSError,
        ),
        Trouble.AWAY,
    ),
    (asyncpg.PostgresError, Trouble.UNEXPECTED),
)
_REFUSED: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)


def translated(error: Exception) -> DatabaseAway | RowRefused:
    """Translates whatever error PostgreSQL, its driver, or the other end of the wire has come up with."""
    if isinstance(error, DatabaseAway | RowRefused):
        return error
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, _REFUSED):
        return RowRefused(text)
    for kinds, trouble in _TROUBLES:
        if isinstance(error, kinds):
            return DatabaseAway(trouble, text)
    return DatabaseAway(Trouble.UNEXPECTED, text)


_WHOLE: Final = frozenset({Trouble.AWAY, Trouble.SLOW, Trouble.BUSY, Trouble.READ_ONLY, Trouble.FULL, Trouble.NEWER})


def of_whole_database(trouble: Trouble) -> bool:
    """Whether every table has this trouble, so that it helps nobody to try one after the other."""
    return trouble in _WHOLE
