"""Clients of Redis: as its URL says, by TLS and under a name that Redis knows.

rediss://risk@redis:6379/0?ssl_ca_certs=/secure/ca.pem&password_file=/secure/passwords

``password_file`` has lines ``user:password``. It and the certificates are read again for every connection, so that
what was replaced counts without a restart.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import SSLConnection, parse_url
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError


class PasswordFile(CredentialProvider):
    """Name and password for the next connection: those of ``user-role`` where the file has them, else the user's."""

    def __init__(self, path: Path, user: str, role: str = "") -> None:
        self._path = path
        self._names = (f"{user}-{role}", user) if role else (user,)

    def get_credentials(self) -> tuple[str, str]:
        """Raises OSError where the file cannot be read, AuthenticationError where it has no line for the user."""
        lines = self._path.read_text("utf-8").splitlines()
        passwords = {name: password for name, colon, password in (line.partition(":") for line in lines) if colon}
        for name in self._names:
            if name in passwords:
                return name, passwords[name]
        raise AuthenticationError(f"{self._path} has no password of {self._names[-1]}")

    async def get_credentials_async(self) -> tuple[str, str]:
        """The same: a small local file keeps nobody waiting."""
        return self.get_credentials()


class RenewedTls(SSLConnection):
    """A connection that is made again reads its certificates again."""

    def _connection_arguments(self) -> Mapping[str, Any]:
        self.ssl_context.context = None
        arguments: Mapping[str, Any] = super()._connection_arguments()
        return arguments


def redis_client(url: SecretStr | str, role: str = "", **options: Any) -> Redis:
    """A client of its own pool; ``options`` as ``redis.asyncio.ConnectionPool`` has them. Nothing is connected yet.

    ``role``: what this client is for, where the URL's user has another name for that. Raises ValueError where the URL
    is none.
    """
    given: dict[str, Any] = dict(parse_url(url.get_secret_value() if isinstance(url, SecretStr) else url))
    if passwords := given.pop("password_file", ""):
        given.pop("password", None)
        user = given.pop("username", "default")
        given["credential_provider"] = PasswordFile(Path(passwords), user, role)
    if given.get("connection_class") is SSLConnection:
        given["connection_class"] = RenewedTls
    return Redis.from_pool(ConnectionPool(**given, **options))
