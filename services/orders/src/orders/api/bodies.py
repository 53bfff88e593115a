"""Bodies of requests, strictly: one JSON text in UTF-8, read once.

What a lenient parser takes in one way another takes in another: of a key that comes twice the first or the last value,
numbers that no number is, UTF-16. A body that can be read in two ways is not read at all.
"""

import json
from collections.abc import Callable, Coroutine
from typing import Any, Final

from common.problems import Problem
from fastapi import Request, Response
from starlette.types import Message, Receive, Scope

from orders.api.owned import OwnedRoute, refuse_foreign

JSON: Final = "tidemark.json"
_UTF8: Final = frozenset({"utf-8", "utf8", "us-ascii"})


class _Duplicate(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Duplicate("a key comes twice in one object")
    return found


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number")


def strict_json(body: bytes) -> Any:
    """The value of one JSON text (RFC 8259) in UTF-8 without a mark. Raises Problem."""
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise _malformed("the body is not UTF-8") from None
    except RecursionError:
        raise _malformed("the body is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise _malformed(f"{error.msg} at character {error.pos}") from None
    except ValueError as error:  # a key that comes twice, NaN, or a number with thousands of digits
        raise _malformed(str(error)) from None


def _malformed(detail: str) -> Problem:
    return Problem(400, "malformed-json", "The body is not JSON", detail)


async def read_body(receive: Receive, bytes_max: int) -> bytes | None:
    """The whole body; None where the client left before its end. Raises Problem beyond ``bytes_max``."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > bytes_max:
            raise too_large(bytes_max)
        if not message.get("more_body"):
            return bytes(body)


def too_large(bytes_max: int) -> Problem:
    return Problem(413, "content-too-large", "Content Too Large", f"a body has at most {bytes_max} bytes")


def replayed(body: bytes, receive: Receive) -> Receive:
    """``receive`` of an application that has not seen the body yet."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receiving() -> Message:
        return waiting.pop() if waiting else await receive()

    return receiving


def account_of_body(scope: Scope, body: bytes) -> str:
    """The account that an order names; "" where the body does not say. Keeps the parsed body in ``scope``."""
    try:
        scope[JSON] = strict_json(body)
    except Problem as problem:
        scope[JSON] = problem
        return ""
    account = scope[JSON].get("account_id") if isinstance(scope[JSON], dict) else None
    return account if isinstance(account, str) else ""


class _JsonRequest(Request):
    async def json(self) -> Any:
        if JSON not in self.scope:
            self.scope[JSON] = strict_json(await self.body())
        if isinstance(self.scope[JSON], Problem):
            raise self.scope[JSON]
        return self.scope[JSON]


class JsonRoute(OwnedRoute):
    """A route whose body is strict JSON. Other media types, charsets and encodings are refused with 415.

    A page of a foreign origin can send text and forms without asking first, but not JSON: the type is a defence, too.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handling(request: Request) -> Response:
            if self.body_field is None:
                return await handle(request)
            _check_media_type(request)
            strict = _JsonRequest(request.scope, request.receive)
            body = await strict.json()
            if isinstance(body, dict) and "account_id" in body:
                refuse_foreign(request, str(body["account_id"]))
            return await handle(strict)

        return handling


def _check_media_type(request: Request) -> None:
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    name, _, charset = parameters.strip().partition("=")
    if media_type.strip().lower() != "application/json":
        raise _unsupported("the body is to be application/json")
    if name.strip().lower() == "charset" and charset.strip(' "').lower() not in _UTF8:
        raise _unsupported("the body is to be UTF-8")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise _unsupported("the body may not be compressed")


def _unsupported(detail: str) -> Problem:
    return Problem(415, "unsupported-media-type", "Unsupported Media Type", detail)
