"""Which release of a service this process runs: its health pages, its metrics and every line of its log say so."""

from importlib.metadata import PackageNotFoundError, version
from typing import Final

UNKNOWN: Final = "unknown"
"""The version where no package of ours is installed, only its sources are on the path."""
_COMMAND_LINE: Final = "tidemark-cli"


def version_of(service: str) -> str:
    """The version of the package that is installed of a service.

    A service is a package of its own; everything else that runs under a name is part of the command line.
    """
    for package in (f"tidemark-{service}", _COMMAND_LINE):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return UNKNOWN
