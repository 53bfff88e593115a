"""Redis with users and TLS, on a real server: every service at every view as the table says, and strangers refused."""

from collections.abc import AsyncIterator, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from common.contracts.rights import COMMAND_LINE, SERVICES, VIEW_RIGHTS
from common.contracts.views import WRITER_VIEW, view_channel
from common.redis_users import ADMIN, users
from parts.native import NativeRedis, Secured
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from streams.views.redis_client import redis_client
from tidemark.authority import Authority
from tidemark.secured_parts import reload_redis

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]
IDENTITIES = (*SERVICES, COMMAND_LINE)
HOSTS = ("127.0.0.1",)
DANGEROUS = (
    "FLUSHALL", "FLUSHDB", "CONFIG GET dir", "CONFIG SET dir /tmp", "REPLICAOF 127.0.0.1 1", "SLAVEOF 127.0.0.1 1",
    "DEBUG SLEEP 0", "SAVE", "BGREWRITEAOF", "SHUTDOWN NOSAVE", "KEYS *", "ACL LIST", "ACL SETUSER x", "CLIENT LIST",
    "MODULE LIST", "SCRIPT FLUSH", "MONITOR", "MIGRATE 127.0.0.1 1 x 0 1", "SET tm:x y", "SELECT 1", "SWAPDB 0 1",
)  # fmt: skip
TIMEOUTS: dict[str, Any] = {"socket_connect_timeout": 20, "socket_timeout": 20}


@pytest.fixture(scope="module")
def server(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a Redis that speaks TLS alone."""
    secured = Secured(authority.file("redis", ""), authority.file(ADMIN, ""))
    redis = NativeRedis(tmp_path_factory.mktemp("redis"), secured=secured)
    redis.start()
    try:
        yield f"127.0.0.1:{redis.port}"
    finally:
        redis.stop()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def clients(authority: Authority, server: str) -> AsyncIterator[dict[str, Redis]]:
    """User → its client."""
    opened: dict[str, Redis] = {}
    for user in users():
        identity, _, role = user.name.partition("-")
        opened[user.name] = redis_client(authority.redis_url(identity, server), role, **TIMEOUTS)
    yield opened
    for client in opened.values():
        await client.aclose()


async def allows(client: Redis, *command: str) -> bool:
    try:
        await client.execute_command(*command)  # type: ignore[no-untyped-call]
    except NoPermissionError:
        return False
    return True


async def listens(client: Redis, channel: str) -> bool:
    async with client.pubsub() as pubsub:
        try:
            await (pubsub.psubscribe if "*" in channel else pubsub.subscribe)(channel)
            return await pubsub.get_message(timeout=20) is not None
        except NoPermissionError:
            return False


def granted(name: str, identity: str) -> tuple[bool, bool]:
    """Whether an identity writes a Redis name by the table, and whether it reads it."""
    rows = [rights for pattern, rights in VIEW_RIGHTS.items() if fnmatchcase(name, pattern)]
    writes = any(identity in rights.writers for rights in rows)
    return writes, any(identity in (*rights.readers, COMMAND_LINE) for rights in rows)


async def test_services_at_views_then_as_the_table_says(clients: dict[str, Redis]) -> None:
    wrong = []
    for pattern in (*VIEW_RIGHTS, "tm:unknown:*", "other"):
        name = pattern.replace("*", "x")
        for identity in IDENTITIES:
            own = {user: client for user, client in clients.items() if user.partition("-")[0] == identity}
            wrote = [await allows(client, "HSET", name, "k", "v") for client in own.values()]
            published = [await allows(client, "PUBLISH", name, "v") for client in own.values()]
            read = [await allows(client, "HGETALL", name) for client in own.values()]
            heard = [await listens(client, pattern) for client in own.values()]
            writes, reads = granted(name, identity)
            if (any(wrote), any(published)) != (writes, writes):
                wrong.append(f"{identity} writes {name}: {wrote}, {published}")
            if (any(read), any(heard)) != (reads, reads):
                wrong.append(f"{identity} reads {name}: {read}, {heard}")
    assert not wrong


async def test_commands_that_harm_then_no_service_may_use_them(clients: dict[str, Redis]) -> None:
    allowed = [
        f"{user}: {command}"
        for user, client in clients.items()
        for command in DANGEROUS
        if not (user == ADMIN and command.startswith("CONFIG"))
        if await allows(client, *command.split())
    ]
    assert not allowed


async def test_script_that_touches_another_view_then_it_is_refused(clients: dict[str, Redis]) -> None:
    script = "return redis.call('HSET', ARGV[1], 'k', 'v')"
    assert await clients["risk"].eval(script, 0, "tm:account:A") in (0, 1)
    with pytest.raises(RedisError, match="can't access"):
        await clients["risk"].eval(script, 0, "tm:order:A")


async def test_command_line_then_it_has_a_writer_write_anew_and_nothing_else(clients: dict[str, Redis]) -> None:
    refills = clients[f"{COMMAND_LINE}-refill"]
    assert await allows(refills, "HDEL", view_channel(WRITER_VIEW, "risk.gate"), "0")
    assert not await allows(refills, "HDEL", "tm:account:A", "account")


async def test_strangers_then_none_gets_a_word(authority: Authority, server: str, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    other.issue(HOSTS)
    ours = authority.redis_url("risk", server)
    believing = ours.replace(str(authority.directory), str(other.directory)).replace(
        str(other.file("risk", "ca.pem")), str(authority.file("risk", "ca.pem"))
    )
    nameless = ours.partition("?")[0].replace("risk@", "")
    for url in (
        f"redis://{server}/0",  # in the clear
        f"{nameless}?ssl_ca_certs={authority.file('risk', 'ca.pem')}",  # without a certificate
        other.redis_url("risk", server),  # that believes and is of another authority
        believing,  # of another authority
        ours.replace(f"password_file={authority.file('risk', 'passwords')}", ""),  # without a password
        ours.replace(str(authority.file("risk", "passwords")), str(other.file("risk", "passwords"))),
        ours.replace("127.0.0.1", "localhost"),  # the server's certificate is of another name
    ):
        async with redis_client(url, **TIMEOUTS) as client:
            with pytest.raises((RedisError, OSError)):
                await client.ping()


async def test_password_when_its_file_has_none_then_the_error_says_so_and_no_password(
    authority: Authority, server: str, tmp_path: Path
) -> None:
    file = tmp_path / "passwords"
    file.write_text("other:secret\n")
    url = authority.redis_url("risk", server).replace(str(authority.file("risk", "passwords")), str(file))
    async with redis_client(url, **TIMEOUTS) as client:
        with pytest.raises(AuthenticationError, match="has no password of risk") as refusal:
            await client.ping()
        assert "secret" not in str(refusal.value)
        file.write_text(authority.file("risk", "passwords").read_text())
        assert await client.ping()


async def test_issued_anew_then_old_and_new_passwords_serve_until_the_next_time(
    authority: Authority, server: str, tmp_path: Path
) -> None:
    """Certificates, too: a client that connects again takes the new files, and no client is started again."""
    admin, url = authority.redis_url(ADMIN, server), authority.redis_url("risk", server)
    before = tmp_path / "passwords"
    before.write_text(authority.file("risk", "passwords").read_text())
    late_url = url.replace(str(authority.file("risk", "passwords")), str(before))
    async with redis_client(url, **TIMEOUTS) as running, redis_client(late_url, **TIMEOUTS) as late:
        assert await running.ping()
        authority.issue(HOSTS)
        await reload_redis(admin)
        for client in (running, late):  # who has not read the new file yet still comes in
            await client.connection_pool.disconnect()
            assert await client.ping()
        authority.issue(HOSTS)
        await reload_redis(admin)
        await running.connection_pool.disconnect()
        assert await running.ping()
        await late.connection_pool.disconnect()
        with pytest.raises(AuthenticationError):
            await late.ping()


async def test_url_then_no_password_is_in_it(authority: Authority, server: str) -> None:
    passwords = [
        line.partition(":")[2]
        for path in authority.directory.glob("*/passwords")
        for line in path.read_text().splitlines()
    ]
    assert len(passwords) == len(list(users()))
    told = "".join(path.read_text() for path in authority.directory.glob("*/settings.env"))
    told += authority.file("redis", "users.acl").read_text()
    assert not [password for password in passwords if password in told]
