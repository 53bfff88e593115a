"""Rows of the table of rights by what a request says: its method and its path."""

import re
from collections.abc import Sequence
from typing import Final

from common.contracts.rights import ENDPOINTS, Endpoint

_PARAMETER: Final = re.compile(r"\{[a-z_]+\}")


def _pattern(template: str) -> re.Pattern[str]:
    """One segment of a path for each parameter, as the framework has it."""
    pieces = _PARAMETER.split(template)
    return re.compile("[^/]+".join(re.escape(piece) for piece in pieces))


class EndpointRows:
    """Rows of one service."""

    def __init__(self, service: str) -> None:
        self._rows = [(_pattern(each.path), each) for each in ENDPOINTS if each.service == service]
        self._fixed = {(each.method, each.path): each for _, each in self._rows if "{" not in each.path}

    def find(self, method: str, path: str) -> Endpoint | None:
        """The row of a request; None where it has none, and is denied."""
        method = "GET" if method == "HEAD" else method
        if (fixed := self._fixed.get((method, path))) is not None:
            return fixed
        rows = (each for pattern, each in self._rows if each.method == method and pattern.fullmatch(path))
        return next(rows, None)

    def is_public(self, path: str) -> bool:
        """Whether strangers know that there is something at this path: some method of it is answered to them."""
        return any(each.is_public and pattern.fullmatch(path) for pattern, each in self._rows)

    def methods(self, path: str) -> Sequence[str]:
        """Methods that have a row at this path, sorted."""
        found = {each.method for pattern, each in self._rows if pattern.fullmatch(path)} - {"WEBSOCKET"}
        return sorted(found)
