"""Ports for a fleet on this machine: the usual ones where they are free, any other where not."""

import contextlib
import socket
from collections.abc import Iterable, Mapping
from typing import Final

OPERATIONS_ABOVE: Final = 100
"""Usual port of a service's pages for operators: so much above its own."""


def operations_of(service: str) -> str:
    """Name, among the ports, of that of a service's pages for operators."""
    return f"{service} operations"


_SERVICE_PORTS: Final[Mapping[str, int]] = {
    "push": 8400,
    "orders": 8401,
    "ingest": 8402,
    "signals": 8403,
    "risk": 8404,
    "auditor": 8405,
    "orders-worker": 8407,
    "orders-projection": 8408,
}
USUAL_PORTS: Final[Mapping[str, int]] = {
    **_SERVICE_PORTS,
    **{operations_of(service): port + OPERATIONS_ABOVE for service, port in _SERVICE_PORTS.items()},
    "issuer": 8406,
}


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether the port can be bound now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """As many different free ports."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) for _ in range(count)]
        for probe in sockets:
            probe.bind((host, 0))
        return [int(probe.getsockname()[1]) for probe in sockets]


def choose_ports(services: Iterable[str], *, any_free: bool = False) -> dict[str, int]:
    """A port per service. ``any_free`` leaves the usual ones alone: for tests beside a running fleet."""
    names = list(services)
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    if not any_free:
        ports.update({name: USUAL_PORTS[name] for name in names if is_free(USUAL_PORTS[name])})
    return ports
