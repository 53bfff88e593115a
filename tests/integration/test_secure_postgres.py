"""PostgreSQL with roles and TLS, on a real server: every role at every table as the table says, strangers refused."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from common.contracts.rights import SERVICES, SQL_IDENTITIES, SQL_RIGHTS, SqlRole
from common.sql_roles import grants
from orders.database import Database
from orders.rebuild import MIGRATED, rebuild, tables
from orders.settings import OrdersPostgresSettings, OrdersSettings
from orders.trouble import DatabaseAway, Trouble
from parts.native import NativePostgres, Secured
from parts.provider import fetch_native
from pydantic import SecretStr
from tidemark.authority import SUPERUSER, Authority
from tidemark.secured_parts import make_roles, reload_postgres

pytestmark = pytest.mark.timeout(600)
HOSTS = ("127.0.0.1",)
HOLDER = {role: holder for holder, roles in SQL_IDENTITIES.items() for role in roles}
TRIED = {
    "SELECT": "SELECT 1 FROM {0} LIMIT 0",
    "INSERT": "INSERT INTO {0} ({1}) SELECT {1} FROM {0} LIMIT 0",
    "UPDATE": "UPDATE {0} SET {1} = {1} WHERE false",
    "DELETE": "DELETE FROM {0} WHERE false",
    "TRUNCATE": "TRUNCATE {0} CASCADE",
    "DROP": "DROP TABLE {0} CASCADE",
    "ALTER": "ALTER TABLE {0} ADD COLUMN added int",
}


@pytest.fixture(scope="module")
def server(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port/database of a PostgreSQL that speaks TLS alone."""
    secured = Secured(authority.file("postgres", ""), authority.file("admin", ""))
    postgres = NativePostgres(tmp_path_factory.mktemp("postgres"), secured=secured)
    postgres.start()
    try:
        yield urlsplit(postgres.address).netloc.partition("@")[2] + urlsplit(postgres.address).path
    finally:
        postgres.stop()


@pytest.fixture
async def made(authority: Authority, server: str) -> str:
    await make_roles(authority.postgres_dsn("admin", SUPERUSER, server))
    return server


async def columns(connection: "asyncpg.Connection[asyncpg.Record]", table: str) -> str:
    ask = "SELECT column_name FROM information_schema.columns WHERE table_name = $1 AND is_identity = 'NO' LIMIT 1"
    return str(await connection.fetchval(ask, table))


async def allowed(connection: "asyncpg.Connection[asyncpg.Record]", statement: str) -> bool:
    """Whether a role may run it; all of it is given back."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return False
    finally:
        await transaction.rollback()
    return True


async def test_roles_at_tables_then_as_the_table_says(authority: Authority, made: str) -> None:
    wrong = []
    assert set(SQL_RIGHTS) == {*tables(), MIGRATED}
    superuser = await asyncpg.connect(authority.postgres_dsn("admin", SUPERUSER, made))
    first = {table: await columns(superuser, table) for table in SQL_RIGHTS}
    await superuser.close()
    for role in SqlRole:
        connection = await asyncpg.connect(authority.postgres_dsn(HOLDER[role], role, made))
        for table, rights in SQL_RIGHTS.items():
            for right, statement in TRIED.items():
                may = await allowed(connection, statement.format(table, first[table]))
                if may != (role is SqlRole.OWNER or right in rights.get(role, ())):
                    wrong.append(f"{role} {right} {table}: {may}")
        makes = [await allowed(connection, f"CREATE {what}") for what in ("TABLE made (n int)", "ROLE made")]
        assert makes == [role is SqlRole.OWNER, False]
        await connection.close()
    assert not wrong


async def test_holders_of_certificates_then_each_takes_its_roles_and_no_other(authority: Authority, made: str) -> None:
    for holder in (*SERVICES, "tidemark", "admin"):
        for role in (*SqlRole, SUPERUSER):
            may = role in SQL_IDENTITIES.get(holder, ()) or (holder, role) == ("admin", SUPERUSER)
            try:
                connection = await asyncpg.connect(authority.postgres_dsn(holder, role, made))
                await connection.close()
                assert may, f"{holder} came as {role}"
            except asyncpg.InvalidAuthorizationSpecificationError:
                assert not may, f"{holder} did not come as {role}"


async def test_strangers_then_none_gets_a_word(authority: Authority, made: str, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    other.issue(HOSTS)
    ours = authority.postgres_dsn("orders", SqlRole.API, made)
    plain = ours.partition("?")[0]
    theirs = other.postgres_dsn("orders", SqlRole.API, made)
    for dsn in (
        f"{plain}?sslmode=disable",
        f"{plain}?sslmode=require",  # without a certificate
        theirs,  # that is of another authority, and believes it
        theirs.replace(str(other.file("orders", "ca.pem")), str(authority.file("orders", "ca.pem"))),
        ours.replace("127.0.0.1", "localhost"),  # verify-full: the server's certificate is of another name
        f"{plain.replace(SqlRole.API, 'nobody')}?{ours.partition('?')[2]}",
    ):
        with pytest.raises((asyncpg.PostgresError, OSError, ssl.SSLError)):
            await asyncpg.connect(dsn, timeout=20)


async def test_projection_when_the_schema_is_made_then_its_writer_has_nothing_to_migrate(
    authority: Authority, made: str
) -> None:
    """The service reads as one role and writes as another, by one certificate and one URL."""
    dsn = SecretStr(authority.postgres_dsn("orders", SqlRole.API, made))
    settings = OrdersSettings(postgres=OrdersPostgresSettings(dsn=dsn, writer=SqlRole.PROJECTION, timeout_ms=20_000))
    writing = Database(settings.postgres, 1, role=settings.postgres.writer)
    reading = Database(settings.postgres, 1)
    try:
        assert await writing.migrate() == []
        insert = "INSERT INTO projection_holes VALUES ('t', 0, 1, 2)"
        await writing.transaction(lambda connection: connection.execute(insert))
        with pytest.raises(DatabaseAway) as refusal:
            await reading.transaction(lambda connection: connection.execute(insert))
        assert refusal.value.trouble is Trouble.FORBIDDEN
    finally:
        await writing.close()
        await reading.close()


async def test_tables_made_anew_then_the_rights_are_as_before(authority: Authority, made: str) -> None:
    owner = await asyncpg.connect(authority.postgres_dsn("admin", SqlRole.OWNER, made))
    async with owner.transaction():
        await rebuild(owner, "test", "a test", recreate=True)
    await owner.close()
    await test_roles_at_tables_then_as_the_table_says(authority, made)


async def test_certificates_when_issued_anew_then_the_server_reads_its_own_again(
    authority: Authority, made: str
) -> None:
    dsn = authority.postgres_dsn("orders", SqlRole.API, made)
    authority.issue(HOSTS)
    await reload_postgres(authority.postgres_dsn("admin", SUPERUSER, made))
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


def test_grants_then_the_ledger_is_appended_to_and_never_changed() -> None:
    assert "GRANT INSERT, SELECT ON ledger_entries TO tidemark_projection" in list(grants())
    assert not [text for text in grants() if "DELETE" in text or "TRUNCATE" in text]
    fetch_native(frozenset({"postgres"}))
