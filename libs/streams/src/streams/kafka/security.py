"""How clients speak to the broker: in the clear or by TLS, known by a certificate or by name and password (SASL)."""

import ssl
from typing import Any

from streams.process.certificates import RenewedContext
from streams.process.settings import Settings


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """A certificate that was replaced counts from the next connection on, of clients that are there already, too.

    None where the settings name no authority. Raises OSError, ssl.SSLError where a file cannot be used.
    """
    authority, certificate, key = (
        settings.kafka_ca_file,
        settings.kafka_certificate_file,
        settings.kafka_key_file,
    )
    if authority is None:
        return None

    def make() -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(authority))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate is not None:
            context.load_cert_chain(certificate, key)
        return context

    return RenewedContext.of([each for each in (authority, certificate, key) if each is not None], make)


class NoPassword(ValueError):
    """A SASL mechanism is set, and who asks, or his password, is not."""


def password(settings: Settings) -> str:
    """Read anew for each client, so that one that was changed counts from the next connection on.

    Raises NoPassword, OSError.
    """
    if not settings.kafka_sasl_username or settings.kafka_sasl_password_file is None:
        raise NoPassword("TIDEMARK_KAFKA_SASL_MECHANISM needs _USERNAME and _PASSWORD_FILE beside it")
    return settings.kafka_sasl_password_file.read_text(encoding="utf-8").rstrip("\n")


def client_security(settings: Settings | None = None) -> dict[str, Any]:
    """Options of every client of aiokafka; without settings those of the environment.

    Raises NoPassword, OSError, ssl.SSLError.
    """
    settings = settings or Settings()
    context = tls_context(settings)
    if settings.kafka_sasl_mechanism is None:
        return {} if context is None else {"security_protocol": "SSL", "ssl_context": context}
    return {
        "security_protocol": "SASL_PLAINTEXT" if context is None else "SASL_SSL",
        "ssl_context": context,
        "sasl_mechanism": settings.kafka_sasl_mechanism,
        "sasl_plain_username": settings.kafka_sasl_username,
        "sasl_plain_password": password(settings),
    }
