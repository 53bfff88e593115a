"""Network addresses as settings give them: checked before anything is opened, IPv4 and IPv6."""

import ipaddress
import socket
from dataclasses import dataclass


class AddressError(ValueError):
    """The text is no address of the kind that is wanted; it says what is wrong."""


def endpoint(text: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[IPv6]:port``. Raises AddressError."""
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise AddressError(f"{text!r} has no port: write host:port, or [IPv6]:port")
    if not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise AddressError(f"{text!r}: {port!r} is no port")
    if host.startswith("[") != host.endswith("]") or (":" in host and not host.startswith("[")):
        raise AddressError(f"{text!r}: an IPv6 address stands in brackets, like [::1]:17000")
    return host.strip("[]"), int(port)


def multicast_group(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Raises AddressError for what is no address, or none of a multicast group."""
    try:
        group = ipaddress.ip_address(text.partition("%")[0])
    except ValueError as error:
        raise AddressError(f"{text!r} is no IP address of a multicast group") from error
    if not group.is_multicast:
        raise AddressError(f"{text!r} is no multicast group: those are 224.0.0.0/4 and ff00::/8")
    return group


def resolved(host: str, port: int, family: int = socket.AF_UNSPEC) -> tuple[int, tuple[str, int]]:
    """(address family, socket address) of a host. Raises AddressError where its name is not known."""
    try:
        found = socket.getaddrinfo(host, port, family, socket.SOCK_DGRAM)
    except OSError as error:
        raise AddressError(f"{host!r}: {error.strerror or error}") from error
    kind, _, _, _, address = found[0]
    return int(kind), address  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Interface:
    """Interface on which a multicast group is joined: its name, or an address of it."""

    index: int = 0
    address: str = ""


def interface(host: str) -> Interface:
    """The interface of that name, or with that address. Raises AddressError where it is neither."""
    try:
        return Interface(address=str(ipaddress.ip_address(host)))
    except ValueError:
        pass
    try:
        return Interface(index=socket.if_nametoindex(host))
    except OSError as error:
        raise AddressError(f"{host!r} is neither an address nor an interface of this machine") from error
