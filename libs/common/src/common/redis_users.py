"""Users of Redis, from the table of rights: what it does not grant to a service, Redis denies.

Redis before 7 does not tell reading from writing by key, so that a service that reads what others write has two users:
one that reads, and one that says how the service is (``NAME-health``).
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from common.contracts.rights import COMMAND_LINE, SERVICES, VIEW_RIGHTS
from common.contracts.views import WRITER_VIEW, view_channel

HEALTH: Final = "health"
REFILL: Final = "refill"
ADMIN: Final = "admin"
"""Has the users and the certificates read again, which no service and no command may."""
_CONNECTS: Final = ("ping", "hello")
_SAYS: Final = (*_CONNECTS, "hset", "publish")
_WRITES: Final = (
    *_SAYS, "hget", "hdel", "hlen", "del", "multi", "exec", "eval", "evalsha", "script|load", "info"
)  # fmt: skip
_READS: Final = (
    *_CONNECTS, "hget", "hgetall", "hvals", "hmget", "hkeys", "scan", "info",
    "subscribe", "unsubscribe", "psubscribe", "punsubscribe",
)  # fmt: skip
_REFILLS: Final = (*_CONNECTS, "hkeys", "hdel")
_ADMINISTERS: Final = (*_CONNECTS, "acl|load", "config|get", "config|set")


@dataclass(frozen=True, slots=True)
class RedisUser:
    """One user: commands by name, and patterns of the hashes and channels with which they may be used."""

    name: str
    commands: tuple[str, ...]
    patterns: tuple[str, ...] = ()

    def line(self, passwords: Iterable[str]) -> str:
        """Its line of an ``aclfile``. Of passwords, which are random, only hashes are in it."""
        hashes = [f"#{hashlib.sha256(password.encode()).hexdigest()}" for password in passwords]
        names = [f"{kind}{pattern}" for kind in "~&" for pattern in self.patterns]
        allowed = [f"+{command}" for command in self.commands]
        return " ".join(["user", self.name, "on", *hashes, "resetkeys", "resetchannels", *names, "-@all", *allowed])


def users() -> Iterator[RedisUser]:
    """Every user that the fleet needs."""
    for service in SERVICES:
        read = tuple(pattern for pattern, rights in VIEW_RIGHTS.items() if service in rights.readers)
        written = tuple(pattern for pattern, rights in VIEW_RIGHTS.items() if service in rights.writers)
        health = view_channel(HEALTH, service)
        views = tuple(pattern for pattern in written if pattern != health)
        assert not (read and views), "its user could write what it is to read"
        if read or views:
            yield RedisUser(service, _READS if read else _WRITES, read or views)
        yield RedisUser(f"{service}-{HEALTH}", _SAYS, (health,))
    yield RedisUser(COMMAND_LINE, _READS, tuple(VIEW_RIGHTS))
    yield RedisUser(f"{COMMAND_LINE}-{REFILL}", _REFILLS, (view_channel(WRITER_VIEW, "*"),))
    yield RedisUser(ADMIN, _ADMINISTERS)


def users_of(identity: str) -> Iterator[RedisUser]:
    """Users whose passwords a service, or the command line, has."""
    return (user for user in users() if user.name == identity or user.name.startswith(f"{identity}-"))


def acl_file(passwords: Mapping[str, Iterable[str]]) -> str:
    """Content of Redis's ``aclfile``: the users with their passwords, and nobody without a name."""
    lines = ["user default off resetkeys resetchannels -@all"]
    return "".join(f"{line}\n" for line in [*lines, *(user.line(passwords[user.name]) for user in users())])
