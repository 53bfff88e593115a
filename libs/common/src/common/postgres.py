"""Errors that a client meets where PostgreSQL does not answer."""

from typing import Final

import asyncpg

POSTGRES_AWAY: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what a statement meets on a connection that is just breaking
    OSError,
    TimeoutError,
)
