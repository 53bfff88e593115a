"""A caller whose right is for his own accounts is told of every other that there is none.

Nothing is looked up before he is told so, so that neither the answer nor its time says whether there is one. What is
compared is what the route will be called with: its path, all of its query, its parsed body.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from common.access.http import identity_of, is_foreign
from common.access.identity import ANYONE
from common.contracts.events import Caller
from common.contracts.problems import PROBLEMS
from common.contracts.rights import COMMANDS
from common.problems import Problem
from fastapi import Request, Response
from fastapi.routing import APIRoute

CALLER_CHARS_MAX: Final = 256


def refuse_foreign(request: Request, account_id: str) -> None:
    """Raises Problem, as if nothing of that name were there."""
    if is_foreign(request.scope, account_id):
        raise _unknown(request, account_id)


def require_command(request: Request, name: str) -> None:
    """Raises Problem where the caller has no right to the command, a row of the table."""
    if not identity_of(request.scope).may(COMMANDS[name]):
        kind = PROBLEMS["not-permitted"]
        raise Problem(kind.status, "not-permitted", kind.title, f"no role of this identity may do {name}")


def require_speaker(request: Request, by: str) -> None:
    """Raises Problem where a command names somebody else than who sends it: two people must be two identities."""
    identity = identity_of(request.scope)
    if identity is not ANYONE and identity.subject != by:
        kind = PROBLEMS["not-permitted"]
        raise Problem(kind.status, "not-permitted", kind.title, f"`by` says {by}, and {identity.subject} asks")


def given_by(request: Request) -> Caller | None:
    """The giver of a request's command, for the record; None where nobody has to say who he is.

    So the commands of an open fleet are what the release before reads.
    """
    identity = identity_of(request.scope)
    if identity is ANYONE:
        return None
    return Caller(
        subject=identity.subject[:CALLER_CHARS_MAX],
        client=identity.client[:CALLER_CHARS_MAX],
        address=request.client.host if request.client else "",
    )


class OwnedRoute(APIRoute):
    """A route that foreign accounts are refused at, in path and query."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handling(request: Request) -> Response:
            for account_id in _named(request):
                refuse_foreign(request, account_id)
            return await handle(request)

        return handling


def _named(request: Request) -> list[str]:
    found = request.query_params.getlist("account_id")
    if (account_id := request.path_params.get("account_id")) is not None:
        found.append(account_id)
    if (order_id := request.path_params.get("order_id")) is not None:
        found.append(order_id.partition(".")[0])
    return found


def _unknown(request: Request, account_id: str) -> Problem:
    if (order_id := request.path_params.get("order_id")) is not None:
        return Problem(404, "order-unknown", "No such order", order_id)
    return Problem(404, "account-unknown", "No such account", account_id)
