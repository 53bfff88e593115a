"""How clients speak to the broker: in the clear, or by TLS with a certificate that says who they are."""

import ssl
from typing import Any

from streams.process.settings import Settings


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Made anew for each client, so that a certificate that was replaced counts from the next connection on.

    None where the settings name no authority. Raises OSError, ssl.SSLError where a file cannot be used.
    """
    if settings.kafka_ca_file is None:
        return None
    context = ssl.create_default_context(cafile=str(settings.kafka_ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.kafka_certificate_file is not None:
        context.load_cert_chain(settings.kafka_certificate_file, settings.kafka_key_file)
    return context


def client_security(settings: Settings | None = None) -> dict[str, Any]:
    """Options of every client of aiokafka; without settings those of the environment."""
    context = tls_context(settings or Settings())
    return {} if context is None else {"security_protocol": "SSL", "ssl_context": context}
