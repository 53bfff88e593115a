"""Roles of PostgreSQL and what each may do, from the table of rights, as statements and as the server's own files."""

from collections.abc import Iterable, Iterator
from typing import Final

from common.contracts.rights import SQL_IDENTITIES, SQL_RIGHTS, SqlRole

IDENTITY_MAP: Final = "tidemark"
"""Name of the map from certificates to roles, in ``pg_ident.conf``."""
_LOGS_IN: Final = frozenset(role for roles in SQL_IDENTITIES.values() for role in roles)


def roles_missing(known: Iterable[str]) -> Iterator[str]:
    """Statements that make the roles which are not known yet; each is a superuser's to run."""
    there = set(known)
    for role in SqlRole:
        if role.value not in there:
            yield f"CREATE ROLE {role} {'LOGIN' if role in _LOGS_IN else 'NOLOGIN'} NOINHERIT"


def ownership(database: str, tables: Iterable[str]) -> Iterator[str]:
    """Statements that give the schema and the tables that are there to their owner; a superuser's to run."""
    yield f'REVOKE ALL ON DATABASE "{database}" FROM PUBLIC'
    yield "REVOKE ALL ON SCHEMA public FROM PUBLIC"
    yield f'GRANT CREATE ON DATABASE "{database}" TO {SqlRole.OWNER}'
    yield f"ALTER SCHEMA public OWNER TO {SqlRole.OWNER}"
    for role in SqlRole:
        yield f'GRANT CONNECT ON DATABASE "{database}" TO {role}'
        yield f"GRANT USAGE ON SCHEMA public TO {role}"
    for table in tables:
        yield f"ALTER TABLE {table} OWNER TO {SqlRole.OWNER}"


def grants() -> Iterator[str]:
    """Statements that leave each role with what the table says of every table; the owner's to run."""
    for table, rights in SQL_RIGHTS.items():
        others = ", ".join(role for role in SqlRole if role is not SqlRole.OWNER)
        yield f"REVOKE ALL ON {table} FROM PUBLIC, {others}"
        for role, allowed in rights.items():
            yield f"GRANT {', '.join(sorted(allowed))} ON {table} TO {role}"


def hba_file(superuser: str) -> str:
    """Content of ``pg_hba.conf``: by TLS and with a certificate of the authority, or not at all.

    The superuser comes by the server's own socket, too, if it has one, from the user that the server runs as.
    """
    return "".join(
        (
            "# TYPE   DATABASE USER ADDRESS METHOD\n",
            f"local    all      {superuser}  peer map={IDENTITY_MAP}\n",
            f"hostssl  all      all  all  cert map={IDENTITY_MAP}\n",
        )
    )


def ident_file(superuser: str) -> str:
    """Content of ``pg_ident.conf``: which roles the holder of a certificate, and of the server itself, may take."""
    named = [(holder, role.value) for holder, roles in SQL_IDENTITIES.items() for role in roles]
    named += [("admin", superuser), ("postgres", superuser)]
    lines = [f"{IDENTITY_MAP} {holder} {role}\n" for holder, role in named]
    return "".join(["# MAP CERTIFICATE ROLE\n", *lines])
