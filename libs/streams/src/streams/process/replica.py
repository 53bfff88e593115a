"""Which replica a process is, where all of them are started alike and share a directory (``docker compose --scale``).

A worker needs a name that outlives it, by which its transactions and its place in the group are known again, and stores
that nobody else has open. Replicas that are started alike can be told neither, so each takes the first place that is
free. The kernel frees a place when its process ends, whatever ends it.
"""

import fcntl
import os
from pathlib import Path
from typing import Final, TypeVar

from streams.process.settings import Settings

S = TypeVar("S", bound=Settings)
REPLICAS_MAX: Final = 64
LOCK_FILE: Final = "replica.lock"


def as_replica(settings: S, service: str) -> S:
    """The settings of the first replica that does not run yet, whose place this process holds from now on.

    The first replica has the directory itself, as a worker alone has; each other one a directory within. Raises
    OSError where every place is taken.
    """
    if not settings.replicas_share_data:
        return settings
    for number in range(1, REPLICAS_MAX + 1):
        place = settings.data_dir if number == 1 else settings.data_dir / f"{number}"
        if _take(place):
            return settings.model_copy(update={"data_dir": place, "worker_id": f"{service}-{number}"})
    raise OSError(f"{REPLICAS_MAX} replicas of {service} run in {settings.data_dir} already")


def _take(place: Path) -> bool:
    place.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(place / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # closed by the process's end
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    return True
