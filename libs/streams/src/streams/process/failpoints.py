"""Named places where a process can be killed from outside, to prove that it may die there.

Inert unless the environment variable ``TIDEMARK_FAILPOINT`` names one: ``NAME`` kills at its first passing, ``NAME:N``
at its Nth, by SIGKILL to the process itself: no handler runs, no buffer is flushed, as in a real crash.
"""

import os
import signal
from typing import Final

VARIABLE: Final = "TIDEMARK_FAILPOINT"

COMMIT: Final = (
    "commit.1.begun",
    "commit.2.applied",
    "commit.3.outputs-appended",
    "commit.3.changelog-appended",
    "commit.3.acknowledged",
    "commit.4.committed",
    "commit.5.stored",
)
OPEN: Final = ("open.1.fenced", "open.2.watermark-read", "open.3.restored", "open.4.verified", "open.5.positioned")
OWN: Final = ("own.1.read", "own.2.fenced", "own.3.claimed", "own.4.looked-back", "own.5.seated")
FAILPOINTS: Final = (*COMMIT, *OPEN, *OWN)
SOURCE_FAILPOINTS: Final = (
    "commit.1.begun",
    "commit.3.outputs-appended",
    "commit.3.changelog-appended",
    "commit.3.acknowledged",
    "commit.4.committed",
    "open.1.fenced",
    "open.2.watermark-read",
    "open.3.restored",
)
"""Those that a source passes: it applies nothing and keeps no store."""


class Failpoints:
    """Counts passings of the one armed place."""

    def __init__(self, armed: str) -> None:
        name, _, nth = armed.partition(":")
        if name and name not in FAILPOINTS:
            raise ValueError(f"{VARIABLE}={armed}: no such failpoint; there are {', '.join(FAILPOINTS)}")
        self._name = name
        self._left = int(nth or 1)

    def passing(self, name: str) -> None:
        """Kills the process if this is the armed place and its turn has come."""
        if name != self._name:
            return
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)


_failpoints = Failpoints(os.environ.get(VARIABLE, ""))
passing = _failpoints.passing
