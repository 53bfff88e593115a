"""Rights of the table, put on parts that run: lists of Kafka, roles of PostgreSQL, users of Redis.

All of it is the administrator's to do, who is none of the services.
"""

from urllib.parse import unquote, urlsplit

import asyncpg
from common.contracts.rights import SqlRole
from common.postgres import POSTGRES_AWAY
from common.sql_roles import grants, ownership, roles_missing
from orders.database import MIGRATION_LOCK, apply_migrations
from orders.rebuild import MIGRATED, tables
from redis.exceptions import RedisError
from streams.views.redis_client import redis_client

from tidemark.authority import SUPERUSER
from tidemark.console import CommandError

TIMEOUT_S = 30.0


async def make_roles(dsn: str) -> list[int]:
    """Makes the roles that are missing, the schema as it should be, and grants what the table says; may be run again.

    ``dsn`` is anybody's who may come as the superuser. Returns the migrations applied. Raises CommandError where
    PostgreSQL does not do it.
    """
    try:
        connection = await asyncpg.connect(dsn, user=SUPERUSER, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
        try:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
                known = [row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")]
                wanted = [*tables(), MIGRATED]
                found = [t for t in wanted if await connection.fetchval("SELECT to_regclass($1)", t) is not None]
                database = unquote(urlsplit(dsn).path.strip("/"))
                for statement in (*roles_missing(known), *ownership(database, found)):
                    await connection.execute(statement)
                await connection.execute(f"SET LOCAL ROLE {SqlRole.OWNER}")
                applied = await apply_migrations(connection)
                for statement in grants():
                    await connection.execute(statement)
                return applied
        finally:
            connection.terminate()
    except POSTGRES_AWAY as error:
        raise CommandError(f"PostgreSQL did not take the roles: {error or type(error).__name__}") from error


async def reload_redis(url: str) -> None:
    """Has Redis read its users and its certificate again; ``url`` is the administrator's. Raises CommandError."""
    try:
        async with redis_client(url, socket_connect_timeout=TIMEOUT_S, socket_timeout=TIMEOUT_S) as redis:
            certificate = str((await redis.config_get("tls-cert-file"))["tls-cert-file"])
            await redis.config_set("tls-cert-file", certificate)
            await redis.acl_load()  # last: Redis then ends every connection, this one, too
    except (RedisError, OSError) as error:
        raise CommandError(f"Redis did not read its users again: {error}") from error


async def reload_postgres(dsn: str) -> None:
    """Has PostgreSQL read its certificate and its files of users again. Raises CommandError."""
    try:
        connection = await asyncpg.connect(dsn, user=SUPERUSER, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
        try:
            await connection.execute("SELECT pg_reload_conf()")
        finally:
            connection.terminate()
    except POSTGRES_AWAY as error:
        raise CommandError(f"PostgreSQL did not read its files again: {error or type(error).__name__}") from error
