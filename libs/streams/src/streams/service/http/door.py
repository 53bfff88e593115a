"""One application behind two ports: the pages for operators at one, everything else at the other."""

from collections.abc import Collection
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from streams.service.http.answers import problem_body, problem_headers
from streams.service.http.problems import SERVER_PROBLEMS

KIND: Final = "not-found"


class Door:
    """ASGI middleware: requests for these paths pass and no others do, or with ``shut`` the other way round."""

    def __init__(self, app: ASGIApp, paths: Collection[str], *, shut: bool) -> None:
        self._app = app
        self._paths = paths
        self._shut = shut

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (scope["path"] in self._paths) != self._shut:
            await self._app(scope, receive, send)
            return
        prefix = "websocket." if scope["type"] == "websocket" else ""
        body = problem_body(KIND, "Not Found")
        start = {"type": f"{prefix}http.response.start", "status": SERVER_PROBLEMS[KIND].status}
        await send({**start, "headers": problem_headers(KIND, body)})
        await send({"type": f"{prefix}http.response.body", "body": b"" if scope.get("method") == "HEAD" else body})
