"""Keycloak with one realm: a provider of identities that is none of ours, as a firm has it."""

import shutil
import signal
import tarfile
from pathlib import Path
from typing import Any, Final

import httpx
from parts import probes
from parts.cache import cached
from parts.java import find_java
from parts.kafka_jars import Jar, fetch
from parts.native import HOST, NativePart
from parts.ports import free_port

VERSION: Final = "26.7.3"
ARCHIVE: Final = Jar(
    "org.keycloak",
    "keycloak-quarkus-dist",
    VERSION,
    "77657f30b7e90d70f727712ce1c967f430fd6a5e9f458d32d8c6df0635345f47",
    176_448_763,
    packaging="tar.gz",
)
READY_TIMEOUT_S: Final = 300.0
TIMEOUT_S: Final = 30.0
REALM: Final = "desk"
ADMIN: Final = "admin"
ROLES_CLAIM: Final = "realm_access.roles"
"""Claim in which Keycloak names a person's roles of the realm."""
KEPT: Final = '{"attributes": [{"name": "username"}, {"name": "email"}], "unmanagedAttributePolicy": "ENABLED"}'
"""User profile that takes attributes which it does not declare; without it Keycloak drops a person's accounts."""
AUDIENCE: Final = {
    "name": "audience",
    "protocol": "openid-connect",
    "protocolMapper": "oidc-audience-mapper",
    "config": {"included.custom.audience": "tidemark", "access.token.claim": "true"},
}
ACCOUNTS: Final = {
    "name": "accounts",
    "protocol": "openid-connect",
    "protocolMapper": "oidc-usermodel-attribute-mapper",
    "config": {
        "user.attribute": "accounts",
        "claim.name": "accounts",
        "jsonType.label": "String",
        "multivalued": "true",
        "access.token.claim": "true",
    },
}
KEY_PROVIDER: Final = {
    "name": "newer",
    "providerId": "rsa-generated",
    "providerType": "org.keycloak.keys.KeyProvider",
    "config": {"priority": ["1000"], "algorithm": ["RS256"]},
}


class Keycloak(NativePart):
    """In a directory of its own, with its data in memory of H2 and files there."""

    name = "keycloak"
    death_signal = signal.SIGTERM  # its script hands it on to the JVM
    ready_timeout_s = READY_TIMEOUT_S

    def __init__(self, directory: Path, password: str) -> None:
        super().__init__(directory)
        self._password = password
        self._management_port = free_port()

    def prepare(self) -> None:
        if not (self.directory / "bin").exists():
            shutil.copytree(_distribution(), self.directory, dirs_exist_ok=True)

    def command(self) -> list[str]:
        variables = {
            "JAVA_HOME": str(find_java().parents[1]),
            "JAVA_OPTS_KC_HEAP": "-Xmx512m",
            "JAVA_OPTS_APPEND": "-XX:TieredStopAtLevel=1",
            "KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN,
            "KC_BOOTSTRAP_ADMIN_PASSWORD": self._password,
        }
        ports = [f"--http-port={self.port}", f"--http-management-port={self._management_port}"]
        given = [f"{name}={value}" for name, value in variables.items()]
        return [
            shutil.which("env") or "env",
            *given,
            str(self.directory / "bin" / "kc.sh"),
            "start-dev",
            f"--http-host={HOST}",
            *ports,
        ]

    def ready(self) -> bool:
        return probes.http_answers(f"{self.address}/realms/master")

    @property
    def address(self) -> str:
        """Base URL."""
        return f"http://{HOST}:{self.port}"

    @property
    def issuer(self) -> str:
        """`iss` of the realm's tokens."""
        return f"{self.address}/realms/{REALM}"

    async def make_realm(self) -> None:
        """An empty realm that keeps people's accounts."""
        profile = {"providerId": "declarative-user-profile", "config": {"kc.user.profile.config": [KEPT]}}
        components = {"org.keycloak.userprofile.UserProfileProvider": [profile]}
        realm = {"realm": REALM, "enabled": True, "sslRequired": "none", "components": components}
        await self._create("/admin/realms", realm)

    async def add_role(self, name: str) -> None:
        """A role of the realm."""
        await self._create(f"/admin/realms/{REALM}/roles", {"name": name})

    async def add_person(self, name: str, password: str, roles: list[str], accounts: list[str]) -> None:
        """Somebody who signs in with this password; ``accounts``: his own, as tokens are to name them."""
        whole = {"email": f"{name}@example.com", "emailVerified": True, "firstName": name, "lastName": name}
        credentials = [{"type": "password", "value": password, "temporary": False}]
        person = {"username": name, "enabled": True, "attributes": {"accounts": accounts}, "credentials": credentials}
        where = await self._create(f"/admin/realms/{REALM}/users", person | whole)
        async with await self._admin() as http:
            given = [(await http.get(f"/admin/realms/{REALM}/roles/{role}")).json() for role in roles]
            (await http.post(f"{where}/role-mappings/realm", json=given)).raise_for_status()

    async def add_dashboard(self, page: str) -> None:
        """The dashboard of this address as a public client: code and PKCE, and nothing else."""
        client = _client("dashboard") | {"standardFlowEnabled": True, "redirectUris": [f"{page}/"], "webOrigins": ["+"]}
        pkce = {"pkce.code.challenge.method": "S256", "post.logout.redirect.uris": "+"}
        await self._create(f"/admin/realms/{REALM}/clients", client | {"attributes": pkce})

    async def add_program(self, name: str, *, is_for_us: bool) -> None:
        """A client that gets tokens for a person's password; ``is_for_us``: they name our audience."""
        client = _client(name) | {"directAccessGrantsEnabled": True}
        if not is_for_us:
            client |= {"protocolMappers": [ACCOUNTS]}
        await self._create(f"/admin/realms/{REALM}/clients", client)

    async def rotate(self) -> None:
        """From now on another key signs; tokens of the one before stay good."""
        await self._create(f"/admin/realms/{REALM}/components", KEY_PROVIDER)

    async def token(self, client: str, name: str, password: str) -> str:
        """An access token of the realm. Raises httpx.HTTPError."""
        return await self._token(REALM, client, name, password)

    async def administrators_token(self) -> str:
        """An access token of another realm of the same provider. Raises httpx.HTTPError."""
        return await self._token("master", "admin-cli", ADMIN, self._password)

    async def _token(self, realm: str, client: str, name: str, password: str) -> str:
        form = {"grant_type": "password", "client_id": client, "username": name, "password": password}
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as http:
            url = f"{self.address}/realms/{realm}/protocol/openid-connect/token"
            answer = (await http.post(url, data=form)).raise_for_status()
        return str(answer.json()["access_token"])

    async def _admin(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {await self.administrators_token()}"}
        return httpx.AsyncClient(base_url=self.address, headers=headers, timeout=TIMEOUT_S)

    async def _create(self, path: str, what: dict[str, Any]) -> str:
        """URL of what was made. Raises httpx.HTTPError."""
        async with await self._admin() as http:
            return str((await http.post(path, json=what)).raise_for_status().headers["location"])


def _client(name: str) -> dict[str, Any]:
    mappers = {"protocolMappers": [AUDIENCE, ACCOUNTS]}
    return {"clientId": name, "publicClient": True, "standardFlowEnabled": False} | mappers


def _distribution() -> Path:
    """The unpacked distribution, fetched on first use. Raises PartsError."""
    return cached(f"keycloak-{VERSION}-{ARCHIVE.sha256[:12]}", _unpack) / f"keycloak-{VERSION}"


def _unpack(directory: Path) -> None:
    fetch([ARCHIVE], directory, f"Keycloak {VERSION}")
    archive = directory / ARCHIVE.filename
    with tarfile.open(archive) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # since Python 3.11.4
        tar.extractall(directory)
    archive.unlink()
