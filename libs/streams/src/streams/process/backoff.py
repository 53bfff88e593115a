"""Waiting longer after each failure."""


class Backoff:
    """Doubles from ``min_s`` to ``max_s``; deterministic, so that a log line can say when the next try is."""

    def __init__(self, min_s: float, max_s: float) -> None:
        self._min_s = min_s
        self._max_s = max_s
        self._next_s = min_s

    def next(self) -> float:
        """Seconds to wait now."""
        delay = self._next_s
        self._next_s = min(self._max_s, delay * 2)
        return delay

    def reset(self) -> None:
        """The attempt went well."""
        self._next_s = self._min_s
