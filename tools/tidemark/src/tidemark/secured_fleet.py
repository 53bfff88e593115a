"""Identities of a fleet on this machine: made at its start, known to the parts, and this process's own meanwhile."""

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from common.contracts.rights import COMMAND_LINE, SqlRole
from common.log_acls import acls
from common.redis_users import ADMIN
from streams.kafka.acls import create_acls
from streams.kafka.admin import reread_files
from streams.process.settings import Settings
from streams.process.settings_tree import FILE_VARIABLE

from tidemark.authority import SETTINGS, SUPERUSER, Authority, Servers
from tidemark.secured_parts import make_roles, reload_postgres, reload_redis
from tidemark.state import Addresses

HOSTS: Final = ("127.0.0.1", "localhost")


def command_line_settings(directory: Path) -> Path:
    """Settings file of the command line, in the directory of an authority."""
    return directory / COMMAND_LINE / SETTINGS


class SecuredFleet:
    """A context: while it is open, this process is the command line to Kafka, Redis and PostgreSQL."""

    def __init__(self, directory: Path) -> None:
        self._authority = Authority(directory)
        self._before: str | None = None
        self._servers: Servers | None = None
        self._bootstrap = ""

    def __enter__(self) -> Self:
        self._authority.issue(HOSTS)
        self._before = os.environ.get(FILE_VARIABLE)
        os.environ[FILE_VARIABLE] = str(command_line_settings(self._authority.directory))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.environ.pop(FILE_VARIABLE)
        if self._before is not None:
            os.environ[FILE_VARIABLE] = self._before

    async def settle(self, found: Addresses) -> Addresses:
        """Tells everybody where the parts are, and the parts what each may do; returns the command line's addresses.

        Raises CommandError, and what the log says, where a part does not take it.
        """
        postgres = urlsplit(found.postgres_dsn)
        servers = Servers(urlsplit(found.redis_url).netloc, f"{postgres.hostname}:{postgres.port}{postgres.path}")
        self._servers = servers
        authority = self._authority
        authority.settle(servers)
        self._bootstrap = found.kafka_bootstrap
        await create_acls(self._administrator(), acls())
        await make_roles(authority.postgres_dsn(ADMIN, SUPERUSER, servers.postgres))
        return Addresses(
            found.kafka_bootstrap,
            authority.redis_url(COMMAND_LINE, servers.redis),
            authority.postgres_dsn(COMMAND_LINE, SqlRole.OPERATOR, servers.postgres),
        )

    def _administrator(self) -> Settings:
        """Settings by which Kafka knows the administrator."""
        return Settings.of({**self._authority.environment(ADMIN), "TIDEMARK_KAFKA_BOOTSTRAP": self._bootstrap})

    async def renew(self, hand_over: Callable[[], None]) -> None:
        """Issues certificates and passwords anew while everything runs, and has Redis and PostgreSQL read theirs.

        ``hand_over`` gives the parts their new files. Services take theirs with their next connections, of which Redis
        has them make new ones at once. Raises CommandError, and what the log says, where a part does not take it.
        """
        assert self._servers is not None, "nothing is renewed before it is settled"
        authority, servers = self._authority, self._servers
        authority.issue(HOSTS, servers)
        hand_over()
        await reread_files(self._administrator())
        await reload_redis(authority.redis_url(ADMIN, servers.redis))
        await reload_postgres(authority.postgres_dsn(ADMIN, SUPERUSER, servers.postgres))
