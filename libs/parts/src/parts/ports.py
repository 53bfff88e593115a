"""Ports that a part can have again after it was killed."""

import random
import socket
from pathlib import Path
from typing import Final

from parts.errors import PartsError

LOWEST: Final = 15_000
DEFAULT_EPHEMERAL_LOW: Final = 32_768
TRIES_MAX: Final = 1_000

_choice = random.SystemRandom()


def _highest() -> int:
    try:
        low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        low = DEFAULT_EPHEMERAL_LOW
    return low - 1 if low - 1 > LOWEST + 1_000 else 65_535


def free_port(host: str = "127.0.0.1") -> int:
    """A port that is free now and that no outgoing connection will be given.

    Below the ephemeral range on purpose: while a killed broker is down, its clients keep connecting to its port, and
    from the ephemeral range a connection can end up connected to itself and hold the port against the restart.
    """
    highest = _highest()
    for _ in range(TRIES_MAX):
        port = _choice.randint(LOWEST, highest)
        if is_free(port, host):
            return port
    raise PartsError(f"no free port between {LOWEST} and {highest}")


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def require_free(port: int, what: str) -> None:
    """Raises PartsError where the port is taken: whoever has it would pass for the part that is being started."""
    if not is_free(port):
        raise PartsError(f"{what} cannot start: port {port} is taken; stop what listens there, or choose another")
