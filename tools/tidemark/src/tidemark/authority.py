"""A certificate authority for a fleet on a developer's machine: one certificate for each who speaks to the log.

DIRECTORY/
  ca.pem, ca.key     the authority; its key signs, and is needed for nothing else
  NAME.pem, NAME.key certificate and key of a service, by which the broker knows it
  broker.pem         key and certificate of the broker in one file, as Kafka reads them
  NAME.env           settings of the service, for TIDEMARK_SETTINGS_FILE
"""

import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from common.contracts.rights import COMMAND_LINE, WORKERS
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BROKER: Final = "broker"
ADMIN: Final = "admin"
"""Puts access control lists on the broker, which nobody else may."""
NAMES: Final = (*WORKERS, "auditor", COMMAND_LINE, ADMIN)
LIFE: Final = timedelta(days=365)
BEFORE: Final = timedelta(minutes=5)
_PRIVATE: Final = 0o600


class Authority:
    """One directory. What is there is kept, unless it is renewed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (directory / "ca.pem").exists():
            key = generate_private_key(SECP256R1())
            name = _name("Tidemark development authority")
            builder = _builder(name, name, key).add_extension(x509.BasicConstraints(True, 0), critical=True)
            self._write("ca.key", _key_text(key))
            self._write("ca.pem", builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
        self._certificate = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes())
        kept = load_pem_private_key((directory / "ca.key").read_bytes(), None)
        assert isinstance(kept, EllipticCurvePrivateKey), "made above"
        self._key = kept

    def issue(self, hosts: Sequence[str]) -> None:
        """Certificates of the broker on these hosts, and of all who speak to it, with another key each."""
        key, certificate = self._issued(BROKER, hosts)
        self._write("broker.pem", _key_text(key) + certificate)
        for name in NAMES:
            key, certificate = self._issued(name, ())
            self._write(f"{name}.key", _key_text(key))
            self._write(f"{name}.pem", certificate)
            settings = "".join(f"{variable}={value}\n" for variable, value in self.environment(name).items())
            self._write(f"{name}.env", settings.encode())

    def environment(self, name: str) -> dict[str, str]:
        """Settings by which a service speaks to the broker as itself."""
        return {
            "TIDEMARK_KAFKA_CA_FILE": str(self.directory / "ca.pem"),
            "TIDEMARK_KAFKA_CERTIFICATE_FILE": str(self.directory / f"{name}.pem"),
            "TIDEMARK_KAFKA_KEY_FILE": str(self.directory / f"{name}.key"),
        }

    def _issued(self, name: str, hosts: Sequence[str]) -> tuple[EllipticCurvePrivateKey, bytes]:
        key = generate_private_key(SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        usages = x509.ExtendedKeyUsage([usage, ExtendedKeyUsageOID.CLIENT_AUTH] if hosts else [usage])
        builder = _builder(_name(name), self._certificate.subject, key).add_extension(usages, critical=False)
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_host(each) for each in hosts]), critical=False
            )
        return key, builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _write(self, name: str, content: bytes) -> None:
        """In one step, and readable to the owner only."""
        partial = self.directory / f"{name}.part"
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE), "wb") as file:
            file.write(content)
        partial.replace(self.directory / name)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - BEFORE).not_valid_after(now + LIFE)


def _key_text(key: EllipticCurvePrivateKey) -> bytes:
    """PKCS#8: Kafka reads no other form, and does not say so."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
