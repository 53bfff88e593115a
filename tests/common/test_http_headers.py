"""Headers of every answer as an attacker would look for them, in the clear and over TLS."""

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from fastapi import FastAPI
from streams.process.settings import HttpSettings, RedisSettings, Settings
from streams.service.frame import Frame
from streams.service.operations import Health, operations_router

EXPECTED = {
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "frame-ancestors 'none'; default-src 'none'; base-uri 'none'; form-action 'none'",
}


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(minutes=5))
    builder = builder.not_valid_after(now + timedelta(hours=1))
    addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = builder.add_extension(addresses, critical=False).sign(key, hashes.SHA256())
    certificate_file, key_file = directory / "certificate.pem", directory / "key.pem"
    certificate_file.write_bytes(signed.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate_file, key_file


def service(settings: Settings) -> Frame:
    health = Health("test")
    web = FastAPI(docs_url=None, redoc_url=None)
    web.include_router(operations_router(health))
    return Frame("test", settings, health, web)


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics", "/openapi.json", "/nothing"])
async def test_answer_then_nothing_of_it_runs_loads_or_is_framed(path: str) -> None:
    frame = service(Settings(redis=RedisSettings(url="")))
    await frame.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{frame.port}") as http:
            headers = (await http.get(path)).headers
            assert {name: headers.get(name) for name in EXPECTED} == EXPECTED
            assert "strict-transport-security" not in headers, "in the clear it would say nothing"
            assert not {"server", "x-powered-by", "access-control-allow-origin"} & set(headers)
    finally:
        await frame.stop()


async def test_service_when_it_has_a_certificate_then_it_speaks_tls_alone_and_says_so_for_a_year(
    tmp_path: Path,
) -> None:
    certificate_file, key_file = certificate(tmp_path)
    frame = service(
        Settings(redis=RedisSettings(url=""), http=HttpSettings(certificate_file=certificate_file, key_file=key_file))
    )
    await frame.start()
    try:
        trusted = ssl.create_default_context(cafile=str(certificate_file))
        address = f"127.0.0.1:{frame.port}"
        async with httpx.AsyncClient(verify=trusted) as http:
            answer = await http.get(f"https://{address}/health/live")
            assert answer.status_code == 200
            assert answer.headers["strict-transport-security"] == "max-age=31536000"
            with pytest.raises(httpx.TransportError):
                await http.get(f"http://{address}/health/live")
        async with httpx.AsyncClient() as stranger:
            with pytest.raises(httpx.ConnectError):
                await stranger.get(f"https://{address}/health/live")
    finally:
        await frame.stop()
