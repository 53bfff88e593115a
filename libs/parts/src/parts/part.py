"""Abilities of every local part, whichever provider runs it."""

from typing import Protocol


class Part(Protocol):
    """One part, stopped when made. Data and ports stay the same over ``start`` after ``stop`` or ``kill``."""

    def start(self) -> None:
        """Starts it and returns when it answers its own protocol. Raises PartsError."""

    def stop(self) -> None:
        """Asks it to end in order, then ends it. Nothing happens where it does not run."""

    def kill(self) -> None:
        """SIGKILL, and waits until it is gone."""

    def wipe(self) -> None:
        """Forgets its data; it must not run."""

    @property
    def pid(self) -> int:
        """The process id on this machine. Raises PartsError where it does not run."""

    @property
    def address(self) -> str:
        """Address for clients: host:port list, URL or DSN."""
