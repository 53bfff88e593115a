"""Deadlines hold whatever PostgreSQL does, and what it says is told apart. All of it on a real server."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from common.testing.forwarder import Forwarder
from orders.database import WAITING_PER_CONNECTION, Connection, Database, migrations
from orders.settings import OrdersPostgresSettings
from orders.trouble import DatabaseAway, RowRefused, Trouble
from pydantic import SecretStr

DEADLINE_S = 0.5
SLACK_S = 0.5
"""For a machine that does other things as well."""
CONNECTIONS = 3


def open_database(dsn: str) -> Database:
    return Database(OrdersPostgresSettings(dsn=SecretStr(dsn)), CONNECTIONS, timeout_ms=int(DEADLINE_S * 1000))


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    opened = open_database(postgres_dsn)
    yield opened
    await opened.close()


@pytest.fixture
async def forwarder(postgres_dsn: str) -> AsyncIterator[Forwarder]:
    target = urlsplit(postgres_dsn)
    assert target.hostname and target.port
    async with Forwarder(target.hostname, target.port) as running:
        yield running


@pytest.fixture
async def behind(postgres_dsn: str, forwarder: Forwarder) -> AsyncIterator[Database]:
    """A database at the other end of the forwarder."""
    parts = urlsplit(postgres_dsn)
    user = parts.netloc.split("@")[0] + "@" if "@" in parts.netloc else ""
    opened = open_database(urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{forwarder.port}")))
    yield opened
    await opened.close()


async def one(connection: Connection) -> int:
    number: int = await connection.fetchval("SELECT 1")
    return number


async def execute(database: Database, statement: str) -> None:
    await database.transaction(lambda connection: connection.execute(statement))


async def trouble_of(database: Database, statement: str) -> Trouble:
    with pytest.raises(DatabaseAway) as raised:
        await execute(database, statement)
    return raised.value.trouble


async def until_answered(database: Database) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                assert await database.read(one) == 1
            except DatabaseAway:
                await asyncio.sleep(0.05)
            else:
                return


async def test_deadline_when_the_server_accepts_and_never_answers_then_it_holds(
    behind: Database, forwarder: Forwarder
) -> None:
    forwarder.hang()
    for call in (behind.read, behind.transaction):
        began = time.monotonic()
        with pytest.raises(DatabaseAway) as raised:
            await call(one)
        assert raised.value.trouble is Trouble.SLOW
        assert time.monotonic() - began < DEADLINE_S + SLACK_S
    forwarder.go_on()
    await until_answered(behind)


async def test_deadline_when_the_server_falls_silent_within_a_statement_then_it_holds(
    behind: Database, forwarder: Forwarder
) -> None:
    """The worst moment: the connection is open, and cancelling would have to ask the server as well."""
    assert await behind.read(one) == 1

    async def silenced(connection: Connection) -> int:
        forwarder.hang()
        return await one(connection)

    for call in (behind.read, behind.transaction):
        forwarder.go_on()
        await until_answered(behind)
        began = time.monotonic()
        with pytest.raises(DatabaseAway):
            await call(silenced)
        assert time.monotonic() - began < DEADLINE_S + SLACK_S
    forwarder.go_on()
    await until_answered(behind)


async def test_caller_when_cancelled_while_the_server_is_silent_then_it_ends_at_once(
    behind: Database, forwarder: Forwarder
) -> None:
    """As a cancel request does, which gives the look-up a quarter of a second."""
    assert await behind.read(one) == 1
    forwarder.hang()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await behind.read(one)
    assert time.monotonic() - began < 0.1 + SLACK_S
    forwarder.go_on()
    await until_answered(behind)


async def test_driver_when_it_does_not_let_itself_be_cancelled_then_the_deadline_holds(database: Database) -> None:
    """Whatever the driver waits for: its caller does not, and its place is given to others."""
    stubborn = asyncio.Event()

    async def work(_connection: Connection) -> None:
        while not stubborn.is_set():
            try:
                await stubborn.wait()
            except asyncio.CancelledError:
                continue

    began = time.monotonic()
    results = await asyncio.gather(*(database.transaction(work) for _ in range(CONNECTIONS)), return_exceptions=True)
    assert time.monotonic() - began < DEADLINE_S + SLACK_S
    assert all(isinstance(result, DatabaseAway) for result in results)
    assert await database.transaction(one) == 1
    stubborn.set()


async def test_readers_when_the_server_is_silent_then_only_one_in_a_while_waits(
    behind: Database, forwarder: Forwarder
) -> None:
    forwarder.hang()
    with pytest.raises(DatabaseAway):
        await behind.read(one)
    assert behind.trouble is not None and behind.trouble.trouble is Trouble.SLOW
    accepted = forwarder.accepted
    refused = await asyncio.gather(*(behind.read(one) for _ in range(500)), return_exceptions=True)
    assert all(isinstance(result, DatabaseAway) for result in refused)
    assert forwarder.accepted <= accepted + 1, "more than one of them asked the server"
    forwarder.go_on()
    await until_answered(behind)
    assert behind.trouble is None


async def test_readers_beyond_the_bound_are_refused_at_once(database: Database) -> None:
    go = asyncio.Event()

    async def slow(connection: Connection) -> int:
        await go.wait()
        return await one(connection)

    places = CONNECTIONS * (1 + WAITING_PER_CONNECTION)
    waiting = [asyncio.create_task(database.read(slow)) for _ in range(places)]
    await asyncio.sleep(0)
    with pytest.raises(DatabaseAway) as raised:
        await database.transaction(one)
    assert raised.value.trouble is Trouble.BUSY
    go.set()
    assert await asyncio.gather(*waiting) == [1] * places


async def test_read_when_the_idle_connection_was_cut_then_a_new_one_answers(
    database: Database, postgres_dsn: str
) -> None:
    assert await database.read(one) == 1
    killer = await asyncpg.connect(postgres_dsn)
    await killer.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await killer.close()
    assert await database.read(one) == 1


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.AdminShutdownError("terminating connection due to administrator command"),
        ConnectionResetError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_read_whatever_a_breaking_idle_connection_raises_then_a_new_one_answers(
    database: Database, error: Exception
) -> None:
    """How far the driver is with the end of the connection when the statement comes decides what it raises."""
    broken: list[Connection] = []

    async def breaks_once(connection: Connection) -> int:
        if not broken:
            broken.append(connection)
            raise error
        assert connection is not broken[0]
        return await one(connection)

    assert await database.read(one) == 1
    assert await database.read(breaks_once) == 1


async def test_connection_is_used_again_and_never_after_an_error(database: Database) -> None:
    async def backend(connection: Connection) -> int:
        pid: int = await connection.fetchval("SELECT pg_backend_pid()")
        return pid

    first = await database.read(backend)
    assert await database.transaction(backend) == first
    assert await trouble_of(database, "SELECT * FROM nothing") is Trouble.SCHEMA
    assert await database.read(backend) != first


async def test_server_when_it_is_another_program_then_reads_are_away() -> None:
    """Whatever answers there, it answers no request with an exception of the driver's own."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    database = open_database(f"postgresql://nobody@127.0.0.1:{server.sockets[0].getsockname()[1]}/nothing")
    for _ in range(2):
        with pytest.raises(DatabaseAway):
            await database.transaction(one)
    await database.close()
    server.close()


async def test_what_postgres_says_is_told_apart(database: Database, postgres_dsn: str) -> None:
    await database.migrate()
    assert await trouble_of(database, "SET TRANSACTION READ ONLY; DELETE FROM orders") is Trouble.READ_ONLY
    assert await trouble_of(database, "SELECT nothing FROM orders") is Trouble.SCHEMA
    assert await trouble_of(database, "SELECT pg_sleep(60)") is Trouble.SLOW
    for sqlstate, trouble in [("53100", Trouble.FULL), ("57P01", Trouble.AWAY), ("XX001", Trouble.UNEXPECTED)]:
        raising = f"DO $$ BEGIN RAISE EXCEPTION 'injected' USING ERRCODE = '{sqlstate}'; END $$"
        assert await trouble_of(database, raising) is trouble
    await database.read(
        lambda connection: connection.execute("CREATE ROLE stranger NOLOGIN; REVOKE ALL ON orders FROM stranger")
    )
    try:
        assert await trouble_of(database, "SET LOCAL ROLE stranger; SELECT * FROM orders") is Trouble.FORBIDDEN
    finally:
        await database.read(lambda connection: connection.execute("DROP ROLE stranger"))
    for statement in ("INSERT INTO ledger_entries VALUES ('A', 0)", "SELECT 1 / 0"):
        with pytest.raises(RowRefused):
            await execute(database, statement)
    with pytest.raises(DatabaseAway):
        await database.read(lambda connection: connection.fetch("SELECT 1 / 0"))


async def test_schema_when_it_is_newer_than_the_program_then_it_is_left_alone(database: Database) -> None:
    await database.migrate()
    await database.read(lambda c: c.execute("INSERT INTO schema_migrations (version, name) VALUES (99, 'later')"))
    with pytest.raises(DatabaseAway, match=re.escape(f"version 99, this program knows {len(migrations())}")) as raised:
        await database.migrate()
    assert raised.value.trouble is Trouble.NEWER


async def test_transaction_when_abandoned_then_the_server_lets_go_of_its_locks(
    behind: Database, forwarder: Forwarder, database: Database
) -> None:
    """A lock that nobody will ever release would keep every other projection out."""
    await database.migrate()
    await database.read(lambda c: c.execute("INSERT INTO projection_positions VALUES ('topic', 0, 7)"))

    async def held(connection: Connection) -> None:
        await connection.execute("UPDATE projection_positions SET next_offset = 8")
        forwarder.hang()
        await connection.execute("SELECT 1")

    with pytest.raises(DatabaseAway):
        await behind.transaction(held)
    async with asyncio.timeout(20):
        while True:
            try:
                await database.transaction(lambda c: c.execute("UPDATE projection_positions SET next_offset = 9"))
            except DatabaseAway:
                continue
            break
    forwarder.go_on()


async def test_database_when_closed_while_it_is_silent_then_it_closes(behind: Database, forwarder: Forwarder) -> None:
    assert await behind.read(one) == 1
    forwarder.hang()
    began = time.monotonic()
    await behind.close()
    assert time.monotonic() - began < DEADLINE_S + SLACK_S
