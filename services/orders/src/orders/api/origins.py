"""Pages of foreign origins may not change anything, whatever they send and whether or not they asked first."""

import re
from typing import Final

from common.problems import Problem
from starlette.types import ASGIApp, Receive, Scope, Send

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class RefuseForeignPages:
    """ASGI middleware: 403 for a request that changes something and comes from a page whose origin does not match.

    Browsers name the page's origin with every such request; other clients send none.
    """

    def __init__(self, app: ASGIApp, allow_origin_regex: str) -> None:
        self._app = app
        self._allowed = re.compile(allow_origin_regex)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _SAFE:
            for name, value in scope["headers"]:
                if name == b"origin" and not self._allowed.fullmatch(value.decode("latin-1")):
                    problem = Problem(403, "forbidden", "Forbidden", "pages of this origin may not change anything")
                    await problem.response()(scope, receive, send)
                    return
        await self._app(scope, receive, send)
