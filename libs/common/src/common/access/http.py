"""Identities and rights where a request enters: in front of everything that reads a body or waits.

A request without a row in the table of rights goes no further, whatever the application would do with it.
"""

import math
import time
from typing import Any, Final, Self

from prometheus_client import Counter
from pydantic import BaseModel, Field
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streams.service.http.answers import problem_body, problem_headers
from streams.service.http.identity import IDENTIFIED, client_of
from streams.service.http.problems import SERVER_PROBLEMS

from common.access.endpoints import EndpointRows
from common.access.failures import Failures
from common.access.identities import Identities
from common.access.identity import ANYONE, Identity
from common.access.keys import KeysAwayError
from common.access.tokens import TokenRefused
from common.contracts.rights import Reach, Role

REFUSED = Counter(
    "tidemark_access_refused_total", "Requests and sign-ins that were refused, by why", ["service", "reason"]
)
_IDENTITY: Final = "tidemark.identity"
_REACH: Final = "tidemark.reach"
_REFUSAL: Final = "tidemark.refusal"
_SCHEME: Final = b"bearer "
_CACHE: Final = b"cache-control"
_CHALLENGE: Final = b'Bearer realm="tidemark"'


def identity_of(scope: Any) -> Identity:
    """Identity of a request. Raises KeyError where nobody has looked: preflights, public pages, open handshakes."""
    identity: Identity = scope[_IDENTITY]
    return identity


def is_foreign(scope: Any, account_id: str) -> bool:
    """Whether the account is beyond the reach of the right to this request. Raises KeyError as ``identity_of``."""
    reach: Reach = scope[_REACH]
    return reach is not Reach.ALL and account_id not in identity_of(scope).accounts


def is_identified(scope: Any) -> bool:
    """Whether somebody has looked who asks."""
    return _IDENTITY in scope


class Refusal(Exception):
    """A request that goes no further: kind of problem, what is said of it, further headers."""

    def __init__(self, problem: str, detail: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(problem)
        self.problem = problem
        self.detail = detail
        self.headers = headers


def credential_of(scope: Scope) -> str | None:
    """The bearer credential (RFC 6750); None where there is none. Raises Refusal for anything else than one."""
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    if not given:
        return None
    if len(given) > 1 or not given[0].lower().startswith(_SCHEME):
        raise _unauthenticated("the scheme of `Authorization` is Bearer, and it comes once")
    return str(given[0][len(_SCHEME) :].strip().decode("latin-1"))


def _unauthenticated(detail: str, *, invalid: bool = True) -> Refusal:
    challenge = _CHALLENGE + b', error="invalid_token"' if invalid else _CHALLENGE
    return Refusal("unauthenticated", detail, (b"www-authenticate", challenge))


class Admission:
    """Credentials become identities here; whoever tries bad ones without end has to wait."""

    def __init__(self, service: str, identities: Identities) -> None:
        self.identities = identities
        self._service = service
        self._failures = Failures()

    async def admit(self, credential: str, client: str) -> Identity:
        """Raises Refusal. ``client``: whose failures are counted, an address."""
        if (known := self.identities.known(credential)) is not None:
            return known
        if (again_s := self._failures.wait_s(client, time.monotonic())) > 0:
            raise self._counted("failures", _too_many(again_s))
        try:
            return await self.identities.identify(credential)
        except TokenRefused as refused:
            self._failures.add(client, time.monotonic())
            raise self._counted(refused.reason, _unauthenticated("the credential is not good")) from None
        except KeysAwayError:
            raise self._counted("issuer away", Refusal("issuer-away", "Ask again later.")) from None

    def _counted(self, reason: str, refusal: Refusal) -> Refusal:
        REFUSED.labels(self._service, reason).inc()
        return refusal


def _too_many(again_s: float) -> Refusal:
    seconds = b"%d" % math.ceil(again_s)
    return Refusal("share-exceeded", "too many credentials that are not good", (b"retry-after", seconds))


class RequireIdentity:
    """ASGI middleware: 401 without a good credential, 403 without the right, 404 and 405 without a row.

    Handshakes of WebSockets may come without a credential, since browsers cannot send one: the connection asks for it.
    Preflights (OPTIONS) carry none either, and are answered by the rules for other origins alone.
    """

    def __init__(self, app: ASGIApp, service: str, admission: Admission, cors: dict[str, Any] | None = None) -> None:
        """``cors``: rules that refusals pass, like every answer; else pages of other origins could not read them."""
        self._app = app
        self._service = service
        self._rows = EndpointRows(service)
        self._admission = admission
        self._refuse: ASGIApp = CORSMiddleware(_answer, **cors) if cors else _answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope.get("method") == "OPTIONS":
            await self._app(scope, receive, send)
            return
        try:
            await self._enter(scope)
        except Refusal as refusal:
            scope[_REFUSAL] = refusal
            await self._refuse(scope, receive, send)
            return
        await self._app(scope, receive, _unkept(send) if is_identified(scope) else send)

    async def _enter(self, scope: Scope) -> None:
        """Writes identity and reach into the scope. Raises Refusal."""
        is_open = self._admission.identities.is_open
        method = scope["method"] if scope["type"] == "http" else "WEBSOCKET"
        row = self._rows.find(method, scope["path"])
        if row is not None and row.is_public:
            return
        credential = None if is_open else credential_of(scope)
        if is_open:
            scope[_IDENTITY], scope[_REACH] = ANYONE, Reach.ALL
            return
        if credential is None and method == "WEBSOCKET":
            return
        if credential is None:
            if row is None and self._rows.is_public(scope["path"]):
                raise self._no_row(scope["path"])
            REFUSED.labels(self._service, "no credential").inc()
            raise _unauthenticated("a bearer token is needed", invalid=False)
        identity = await self._admission.admit(credential, client_of(scope))
        if row is None:
            raise self._no_row(scope["path"])
        reach = identity.reach(row.grants)
        if reach is None:
            REFUSED.labels(self._service, "no right").inc()
            raise Refusal("not-permitted", "none of the roles of this identity has the right to do this")
        scope[_IDENTITY], scope[_REACH] = identity, reach
        scope[IDENTIFIED] = f"{identity.client}/{identity.subject}"

    def _no_row(self, path: str) -> Refusal:
        if methods := self._rows.methods(path):
            return Refusal("method-not-allowed", "Method Not Allowed", (b"allow", ", ".join(methods).encode()))
        return Refusal("not-found", "Not Found")


def _unkept(send: Send) -> Send:
    """What an identity was answered is kept by no cache."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start" and all(name != _CACHE for name, _ in message.get("headers", [])):
            message = {**message, "headers": [*message.get("headers", []), (_CACHE, b"no-store")]}
        await send(message)

    return sending


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    refusal: Refusal = scope[_REFUSAL]
    prefix = "websocket." if scope["type"] == "websocket" else ""
    body = problem_body(refusal.problem, refusal.detail)
    headers = [*problem_headers(refusal.problem, body)]
    if any(name == b"retry-after" for name, _ in refusal.headers):
        headers = [each for each in headers if each[0] != b"retry-after"]
    start = {"type": f"{prefix}http.response.start", "status": SERVER_PROBLEMS[refusal.problem].status}
    await send({**start, "headers": [*headers, *refusal.headers]})
    await send({"type": f"{prefix}http.response.body", "body": b"" if scope.get("method") == "HEAD" else body})


class Me(BaseModel):
    """What an identity is told of itself."""

    subject: str
    client: str = Field(description="the program through which the subject acts; may be empty")
    roles: list[Role]
    accounts: list[str] = Field(description="its own: ids, or beginnings that end in `*`")
    expires_s: int | None = Field(description="when the credential ends, seconds since the epoch; null: never")

    @classmethod
    def of(cls, identity: Identity) -> Self:
        end_s = None if math.isinf(identity.expires_s) else int(identity.expires_s)
        return cls(
            subject=identity.subject,
            client=identity.client,
            roles=sorted(identity.roles),
            accounts=identity.accounts.patterns(),
            expires_s=end_s,
        )
