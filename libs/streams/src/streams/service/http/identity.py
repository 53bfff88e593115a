"""Identity of a client, in the one place that shares, connections and logs ask."""

from ipaddress import IPv6Address
from typing import Any, Final

UNKNOWN = "unknown"
IDENTIFIED: Final = "streams.identified"
"""Key of an ASGI scope under which whoever has verified an identity leaves its name."""
IPV6_NETWORK_BITS = 64
"""Whoever has one IPv6 address usually has its whole /64."""


def client_of_address(address: str) -> str:
    """The client behind a peer's address. Headers that claim another address are not believed."""
    if ":" not in address:
        return address or UNKNOWN
    number = int(IPv6Address(address.partition("%")[0]))
    return f"{IPv6Address(number >> IPV6_NETWORK_BITS << IPV6_NETWORK_BITS)}/{IPV6_NETWORK_BITS}"


def client_of(scope: Any) -> str:
    """The client of an ASGI scope: the identity that was verified, else the peer's address."""
    if (identified := scope.get(IDENTIFIED)) is not None:
        return str(identified)
    client = scope.get("client")
    return client_of_address(client[0]) if client else UNKNOWN
