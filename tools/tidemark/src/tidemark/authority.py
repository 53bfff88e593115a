"""A certificate authority for a fleet on a developer's machine: certificates, passwords and lists of users.

DIRECTORY/
  ca/        ca.pem, ca.key: the authority; its key signs, and is needed for nothing else
  kafka/     broker.pem (key and certificate in one file, as Kafka reads them), ca.pem
  redis/     server.pem, server.key, ca.pem, users.acl
  postgres/  server.pem, server.key, ca.pem, pg_hba.conf, pg_ident.conf
  NAME/      of each service, of the command line and of the administrator: certificate.pem, key.pem, ca.pem, passwords
             (those of its users at Redis), settings.env for TIDEMARK_SETTINGS_FILE

Each directory has what its holder needs and nothing else, so that it alone can be given to it.
"""

import ipaddress
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from common.contracts.rights import COMMAND_LINE, SERVICES, SQL_IDENTITIES, SqlRole
from common.redis_users import ADMIN, acl_file, users_of
from common.sql_roles import hba_file, ident_file
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KAFKA: Final = "kafka"
REDIS: Final = "redis"
POSTGRES: Final = "postgres"
BROKER: Final = "broker"
"""Name of the broker's certificate, by which brokers know each other."""
SUPERUSER: Final = "tidemark"
"""PostgreSQL's, which makes the roles; the administrator may take it."""
NAMES: Final = (*SERVICES, COMMAND_LINE, ADMIN)
SETTINGS: Final = "settings.env"
DSN_ROLES: Final[Mapping[str, SqlRole]] = {
    "orders": SqlRole.API,
    "auditor": SqlRole.AUDITOR,
    COMMAND_LINE: SqlRole.OPERATOR,
    ADMIN: SqlRole.OWNER,
}
"""Holder → role in its URL of PostgreSQL."""
LIFE: Final = timedelta(days=365)
BEFORE: Final = timedelta(minutes=5)
PASSWORD_BYTES: Final = 32
_PRIVATE: Final = 0o600
_SIGNS: Final = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Servers:
    """Addresses at which the fleet reaches its parts: host and port, and of PostgreSQL the database, too."""

    redis: str = "127.0.0.1:6379"
    postgres: str = "127.0.0.1:5432/tidemark"


class Authority:
    """One directory. Its authority is kept; certificates and passwords are issued anew."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.file("ca", "ca.pem").exists():
            key = generate_private_key(SECP256R1())
            name = _name("Tidemark development authority")
            builder = _builder(name, name, key, key).add_extension(x509.BasicConstraints(True, 0), critical=True)
            builder = builder.add_extension(_SIGNS, critical=True)
            self._write("ca", "ca.key", _key_text(key))
            self._write("ca", "ca.pem", builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
        self._ca = self.file("ca", "ca.pem").read_bytes()
        self._certificate = x509.load_pem_x509_certificate(self._ca)
        kept = load_pem_private_key(self.file("ca", "ca.key").read_bytes(), None)
        assert isinstance(kept, EllipticCurvePrivateKey), "made above"
        self._key = kept

    def file(self, holder: str, name: str) -> Path:
        """Path of a file of a holder's directory."""
        return self.directory / holder / name

    def issue(self, hosts: Sequence[str], servers: Servers | None = None) -> None:
        """Certificates of the parts on these hosts, and of all who speak to them, with other keys and passwords each.

        Redis takes the passwords before, too, until they are issued once more: a service reads its new ones when it
        connects next, and Redis its list when the administrator tells it to, whose password therefore stays.
        """
        key, certificate = self._issued(BROKER, hosts)
        self._write(KAFKA, "broker.pem", _key_text(key) + certificate)
        for part in (REDIS, POSTGRES):
            key, certificate = self._issued(part, hosts)
            self._write(part, "server.key", _key_text(key))
            self._write(part, "server.pem", certificate)
        for name in (KAFKA, REDIS, POSTGRES, *NAMES):
            self._write(name, "ca.pem", self._ca)
        accepted: dict[str, list[str]] = {}
        for name in NAMES:
            key, certificate = self._issued(name, ())
            self._write(name, "key.pem", _key_text(key))
            self._write(name, "certificate.pem", certificate)
            accepted |= self._passwords(name)
        self._write(REDIS, "users.acl", acl_file(accepted).encode())
        self._write(POSTGRES, "pg_hba.conf", hba_file(SUPERUSER).encode())
        self._write(POSTGRES, "pg_ident.conf", ident_file(SUPERUSER).encode())
        self.settle(servers or Servers())

    def settle(self, servers: Servers) -> None:
        """Writes the settings of everybody, with the parts where they are."""
        for name in NAMES:
            settings = {**self.environment(name), **self.addresses(name, servers)}
            text = "".join(f"{variable}={value}\n" for variable, value in settings.items())
            self._write(name, SETTINGS, text.encode())

    def environment(self, name: str) -> dict[str, str]:
        """Settings by which a service speaks to the broker as itself."""
        return {
            "TIDEMARK_KAFKA_CA_FILE": str(self.file(name, "ca.pem")),
            "TIDEMARK_KAFKA_CERTIFICATE_FILE": str(self.file(name, "certificate.pem")),
            "TIDEMARK_KAFKA_KEY_FILE": str(self.file(name, "key.pem")),
        }

    def addresses(self, name: str, servers: Servers) -> dict[str, str]:
        """Settings by which it speaks to Redis and to PostgreSQL; no password is in them."""
        found = {"TIDEMARK_REDIS_URL": self.redis_url(name, servers.redis)}
        if name in DSN_ROLES:
            found["TIDEMARK_POSTGRES_DSN"] = self.postgres_dsn(name, DSN_ROLES[name], servers.postgres)
        if SqlRole.PROJECTION in SQL_IDENTITIES.get(name, ()):
            found["TIDEMARK_POSTGRES_WRITER"] = SqlRole.PROJECTION
        return found

    def redis_url(self, name: str, server: str) -> str:
        """URL of Redis for a service."""
        files = {
            "ssl_ca_certs": self.file(name, "ca.pem"),
            "ssl_certfile": self.file(name, "certificate.pem"),
            "ssl_keyfile": self.file(name, "key.pem"),
            "password_file": self.file(name, "passwords"),
        }
        return f"rediss://{name}@{server}/0?{urlencode(files, safe='/')}"

    def postgres_dsn(self, name: str, role: str, server: str) -> str:
        """URL of PostgreSQL for the holder of a certificate in a role that it may take."""
        files = {
            "sslmode": "verify-full",
            "sslrootcert": self.file(name, "ca.pem"),
            "sslcert": self.file(name, "certificate.pem"),
            "sslkey": self.file(name, "key.pem"),
        }
        return f"postgresql://{role}@{server}?{urlencode(files, safe='/')}"

    def _passwords(self, name: str) -> dict[str, list[str]]:
        """Writes new passwords of a holder's users; returns those that Redis is to take, the ones before among them."""
        kept = self.file(name, "passwords")
        before = kept.read_text("utf-8").splitlines() if kept.exists() else []
        old = dict(line.split(":", 1) for line in before)
        fresh = {user.name: secrets.token_urlsafe(PASSWORD_BYTES) for user in users_of(name)}
        if name == ADMIN:
            fresh |= old
        self._write(name, kept.name, "".join(f"{user}:{password}\n" for user, password in fresh.items()).encode())
        return {user: [password, *([old[user]] if user in old else [])] for user, password in fresh.items()}

    def _issued(self, name: str, hosts: Sequence[str]) -> tuple[EllipticCurvePrivateKey, bytes]:
        key = generate_private_key(SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        usages = x509.ExtendedKeyUsage([usage, ExtendedKeyUsageOID.CLIENT_AUTH] if hosts else [usage])
        builder = _builder(_name(name), self._certificate.subject, key, self._key)
        builder = builder.add_extension(usages, critical=False)
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_host(each) for each in hosts]), critical=False
            )
        return key, builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _write(self, holder: str, name: str, content: bytes) -> None:
        """In one step, and readable to the owner only."""
        path = self.file(holder, name)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        partial = path.with_name(f"{name}.part")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE), "wb") as file:
            file.write(content)
        partial.replace(path)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, signer: EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    # Whoever verifies strictly, as Python does from 3.13 on, wants to be told which key signed.
    signed_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = builder.add_extension(signed_by, critical=False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return builder.not_valid_before(now - BEFORE).not_valid_after(now + LIFE)


def _key_text(key: EllipticCurvePrivateKey) -> bytes:
    """PKCS#8: Kafka reads no other form, and does not say so."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
