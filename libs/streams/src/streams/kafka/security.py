"""How clients speak to the broker: in the clear or by TLS, known by a certificate or by name and password (SASL)."""

import ssl
from typing import Any

from streams.process.certificates import RenewedContext
from streams.process.settings import KafkaSettings, SaslSettings, Settings


def tls_context(kafka: KafkaSettings) -> ssl.SSLContext | None:
    """A certificate that was replaced counts from the next connection on, of clients that are there already, too.

    None where no authority is named. Raises OSError where a file cannot be used, and names it.
    """
    authority, certificate, key = kafka.ca_file, kafka.certificate_file, kafka.key_file
    if authority is None:
        return None

    def make() -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=str(authority))
        except OSError as error:
            raise OSError(f"{authority}: {error.strerror or error}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate is not None:
            try:
                context.load_cert_chain(certificate, key)
            except OSError as error:
                raise OSError(f"{certificate} and its key {key}: {error.strerror or error}") from error
        return context

    return RenewedContext.of([each for each in (authority, certificate, key) if each is not None], make)


def password(sasl: SaslSettings) -> str:
    """Read anew for each client, so that one that was changed counts from the next connection on. Raises OSError."""
    if sasl.password_file is None:
        return ""
    return sasl.password_file.read_text(encoding="utf-8").rstrip("\n")


def client_security(kafka: KafkaSettings | None = None) -> dict[str, Any]:
    """Options of every client of aiokafka; without an argument as the environment says.

    Raises OSError.
    """
    kafka = kafka or Settings().kafka
    context, sasl = tls_context(kafka), kafka.sasl
    if sasl.mechanism is None:
        return {} if context is None else {"security_protocol": "SSL", "ssl_context": context}
    return {
        "security_protocol": "SASL_PLAINTEXT" if context is None else "SASL_SSL",
        "ssl_context": context,
        "sasl_mechanism": sasl.mechanism,
        "sasl_plain_username": sasl.username,
        "sasl_plain_password": password(sasl),
    }
