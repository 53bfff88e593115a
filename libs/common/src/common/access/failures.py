"""Credentials that were refused, by who sent them: to verify one costs more than to send it."""

from typing import Final

FAILURES_MAX: Final = 100
"""Refused credentials of one client in a window; more wait for the next."""
WINDOW_S: Final = 10.0
CLIENTS_MAX: Final = 10_000


class Failures:
    """Counts in windows of a fixed length."""

    def __init__(self) -> None:
        self._clients: dict[str, tuple[float, int]] = {}

    def add(self, client: str, now_s: float) -> None:
        """One more of this client. The one that was seen first is forgotten where there are too many."""
        since_s, count = self._clients.pop(client, (now_s, 0))
        if now_s - since_s >= WINDOW_S:
            since_s, count = now_s, 0
        while len(self._clients) >= CLIENTS_MAX:
            del self._clients[next(iter(self._clients))]
        self._clients[client] = since_s, count + 1

    def wait_s(self, client: str, now_s: float) -> float:
        """Seconds until another one of this client is looked at; 0 where it is now."""
        since_s, count = self._clients.get(client, (now_s, 0))
        return max(0.0, since_s + WINDOW_S - now_s) if count >= FAILURES_MAX else 0.0
