"""Which way the parts are run: as processes of this machine, or in containers."""

from typing import Final

from parts.cache import tell
from parts.containers import pull_missing, why_not_docker
from parts.errors import PartsError
from parts.java import find_java
from parts.native import find_postgres, find_redis_server
from parts.native_jaeger import find_jaeger
from parts.native_kafka import format_template, java_command
from parts.native_registry import LOWEST_JAVA, find_registry

CHOICES: Final = ("auto", "docker", "native")


def choose_provider(wanted: str, names: frozenset[str], *, only_native: bool) -> str:
    """``docker`` or ``native``. Raises PartsError where the wanted one cannot be had.

    ``auto`` takes processes, which start in a fraction of the time and die with their parent, and containers where
    the programs cannot be had but a daemon holds every image. ``only_native``: kept data and clusters are there with
    processes only.
    """
    if wanted not in CHOICES:
        raise PartsError(f"TIDEMARK_PARTS is {wanted!r}; it must be one of {', '.join(CHOICES)}")
    if wanted == "docker":
        if only_native:
            raise PartsError("kept data and clusters of brokers need TIDEMARK_PARTS=native (or auto)")
        pull_missing(names)
        return "docker"
    try:
        fetch_native(names)
    except PartsError as error:
        if wanted == "native" or only_native:
            raise
        if reason := why_not_docker(names):
            raise PartsError(f"{error}\nDocker was tried as well: {reason}") from error
        tell(f"using docker, because: {error}")
        return "docker"
    return "native"


def fetch_native(names: frozenset[str]) -> None:
    """Gets every program that the parts need as processes. Raises PartsError."""
    if "redis" in names:
        find_redis_server()
    if "postgres" in names:
        find_postgres()
    if "kafka" in names:
        java_command()
        format_template()
    if "jaeger" in names:
        find_jaeger()
    if "registry" in names:
        find_java(LOWEST_JAVA)
        find_registry()
