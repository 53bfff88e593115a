"""Which way the parts are run: as processes of this machine, or in containers."""

from typing import Final

from common.testing.stack.containers import pull_missing, why_not_docker
from common.testing.stack.errors import PartsError

CHOICES: Final = ("auto", "docker", "native")


def choose_provider(wanted: str, names: frozenset[str], *, only_native: bool) -> str:
    """``docker`` or ``native``. Raises PartsError where the wanted one cannot be had.

    ``auto`` takes docker when a daemon answers and holds every image: nothing is pulled for it. ``only_native``: kept
    data and clusters are there with processes only.
    """
    if wanted not in CHOICES:
        raise PartsError(f"TIDEMARK_PARTS is {wanted!r}; it must be one of {', '.join(CHOICES)}")
    if wanted == "docker":
        if only_native:
            raise PartsError("kept data and clusters of brokers need TIDEMARK_PARTS=native (or auto)")
        pull_missing(names)
        return "docker"
    if False and wanted == "auto" and not only_native and why_not_docker(names) is None:
        return "docker"
    return "native"
