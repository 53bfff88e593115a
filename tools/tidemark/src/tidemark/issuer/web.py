"""The issuer over HTTP: authorization code with PKCE (RFC 6749, 7636, OpenID Connect Discovery), for the dashboard."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from common.access.failures import Failures
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.middleware.cors import CORSMiddleware
from streams.service.http.identity import client_of
from streams.service.web import NO_REQUEST_SPANS, WebServer

from tidemark.issuer.grants import Code, Refresh, is_verified
from tidemark.issuer.issuer import DASHBOARD, SESSION_LIFE_S, TOKEN_LIFE_S, Issuer
from tidemark.issuer.page import page_headers, refused_page, sign_in_page

COOKIE: Final = "tidemark_issuer"
COOKIE_PATH: Final = "/authorize"
"""A cookie goes to every port of a host: the dashboard and the API of the same machine have nothing at this path."""
FORM_BYTES_MAX: Final = 16_384
CHALLENGE_CHARS: Final = range(43, 129)
STATE_CHARS_MAX: Final = 512


class IssuerWeb:
    """Routes. ``dashboards``: origins of the dashboard. Browsers are sent back to their root and nowhere else."""

    def __init__(self, issuer: Issuer, dashboards: Sequence[str]) -> None:
        self._issuer = issuer
        self._dashboards = tuple(dashboards)
        self._redirects = frozenset(f"{origin}/" for origin in dashboards)
        self._failures = Failures()
        self._one_password = asyncio.Semaphore(1)  # each takes 50 ms of a processor

    def build(self) -> FastAPI:
        web = FastAPI(
            title="Tidemark issuer", docs_url=None, redoc_url=None, openapi_url=None, telemetry=NO_REQUEST_SPANS
        )
        web.add_api_route("/.well-known/openid-configuration", self.discovery)
        web.add_api_route("/keys", self.keys)
        web.add_api_route("/authorize", self.authorize, response_model=None)
        web.add_api_route("/sign-in", self.sign_in, methods=["POST"], response_model=None)
        web.add_api_route("/token", self.token, methods=["POST"], response_model=None)
        web.add_api_route("/revoke", self.revoke, methods=["POST"], response_model=None)
        web.add_api_route("/authorize/end", self.sign_out, response_model=None)
        web.add_middleware(CORSMiddleware, allow_origins=list(self._dashboards), allow_methods=["GET", "POST"])
        return web

    async def discovery(self) -> dict[str, Any]:
        url = self._issuer.url
        return {
            "issuer": url,
            "authorization_endpoint": f"{url}/authorize",
            "token_endpoint": f"{url}/token",
            "revocation_endpoint": f"{url}/revoke",
            "end_session_endpoint": f"{url}/authorize/end",
            "jwks_uri": f"{url}/keys",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "subject_types_supported": ["public"],
        }

    async def keys(self) -> Any:
        return self._issuer.published()

    async def authorize(self, request: Request) -> Response:
        """To the dashboard with a code where somebody is signed in, or comes by a link; else the page to sign in."""
        asked = dict(request.query_params)
        if why := self._refusal(asked):
            return HTMLResponse(refused_page(why), 400, page_headers(self._dashboards))
        now_s = time.time()
        session = request.cookies.get(COOKIE, "")
        person = self._issuer.sessions.look(session, now_s)
        if link := asked.pop("link", ""):
            by_link = self._issuer.links.take(link, now_s)
            if by_link is not None:
                person, session = by_link, self._issuer.sessions.hand_out(by_link, now_s)
        if person is None or self._issuer.person(person) is None:
            return HTMLResponse(sign_in_page(asked, ""), headers=page_headers(self._dashboards))
        code = Code(person, asked["client_id"], asked["redirect_uri"], asked["code_challenge"])
        answer = {"code": self._issuer.codes.hand_out(code, now_s), "state": asked.get("state", "")}
        return _with_session(_redirect(f"{code.redirect_uri}?{urlencode(answer)}"), session)

    def _refusal(self, asked: Mapping[str, str]) -> str:
        """Why the dashboard's request is not followed. Nobody is sent to an address that is not the dashboard's."""
        if asked.get("client_id") != DASHBOARD or asked.get("redirect_uri") not in self._redirects:
            return "No program of that name and address is known here."
        challenge = asked.get("code_challenge", "")
        if asked.get("response_type") != "code" or asked.get("code_challenge_method") != "S256":
            return "The request is not for a code with PKCE (S256)."
        if len(challenge) not in CHALLENGE_CHARS or len(asked.get("state", "")) > STATE_CHARS_MAX:
            return "The request is malformed."
        return ""

    async def sign_in(self, request: Request) -> Response:
        """The page's form. Only from the page: else another site could sign somebody in as somebody else."""
        form = await _form(request)
        if form is None or request.headers.get("origin") != self._issuer.url or self._refusal(form):
            return HTMLResponse(refused_page("The request is malformed."), 400, page_headers(self._dashboards))
        name, password = form.pop("name", ""), form.pop("password", "")
        now_s = time.time()
        if self._failures.wait_s(client_of(request.scope), now_s) > 0:
            said = "Too many attempts: wait a little."
            return HTMLResponse(sign_in_page(form, said), 429, page_headers(self._dashboards))
        async with self._one_password:
            is_good = await asyncio.to_thread(self._issuer.signed_in, name, password)
        if not is_good:
            self._failures.add(client_of(request.scope), now_s)
            said = "Name or password is not right."
            return HTMLResponse(sign_in_page(form, said), 401, page_headers(self._dashboards))
        session = self._issuer.sessions.hand_out(name, now_s)
        return _with_session(_redirect(f"/authorize?{urlencode(form)}"), session)

    async def token(self, request: Request) -> Response:
        """A code, or a refresh token, becomes tokens; either works once."""
        form = await _form(request) or {}
        if form.get("client_id") != DASHBOARD:
            return _token_error("invalid_client")
        now_s = time.time()
        if form.get("grant_type") == "authorization_code":
            code = self._issuer.codes.take(form.get("code", ""), now_s)
            if code is None or code.redirect_uri != form.get("redirect_uri"):
                return _token_error("invalid_grant")
            if not is_verified(form.get("code_verifier", ""), code.challenge):
                return _token_error("invalid_grant")
            person = code.person
        elif form.get("grant_type") == "refresh_token":
            refresh = self._issuer.refreshes.take(form.get("refresh_token", ""), now_s)
            if refresh is None:
                return _token_error("invalid_grant")
            person = refresh.person
        else:
            return _token_error("unsupported_grant_type")
        token = self._issuer.token_of(person, DASHBOARD)
        if token is None:
            return _token_error("invalid_grant")
        again = self._issuer.refreshes.hand_out(Refresh(person, DASHBOARD), now_s)
        found = {"access_token": token, "token_type": "Bearer", "expires_in": int(TOKEN_LIFE_S), "refresh_token": again}
        return JSONResponse(found, headers={"Cache-Control": "no-store"})

    async def revoke(self, request: Request) -> Response:
        """RFC 7009."""
        form = await _form(request) or {}
        self._issuer.revoke(form.get("token", ""))
        return Response(status_code=200)

    async def sign_out(self, request: Request) -> Response:
        """Ends the session, and leads back to the dashboard."""
        self._issuer.sessions.take(request.cookies.get(COOKIE, ""), time.time())
        back = request.query_params.get("post_logout_redirect_uri", "")
        response = (
            _redirect(back)
            if back in self._redirects
            else HTMLResponse(refused_page("You are signed out."), headers=page_headers(self._dashboards))
        )
        response.delete_cookie(COOKIE, path=COOKIE_PATH)
        return response


def issuer_server(issuer: Issuer, dashboards: Sequence[str], port: int) -> WebServer:
    """The issuer's server, not started yet."""
    return WebServer(IssuerWeb(issuer, dashboards).build(), "127.0.0.1", port)


def _redirect(url: str) -> Response:
    return RedirectResponse(url, 303, {"Cache-Control": "no-store"})


def _with_session(response: Response, session: str) -> Response:
    response.set_cookie(COOKIE, session, max_age=int(SESSION_LIFE_S), path=COOKIE_PATH, httponly=True, samesite="lax")
    return response


def _token_error(error: str) -> Response:
    return JSONResponse({"error": error}, 400, {"Cache-Control": "no-store"})


async def _form(request: Request) -> dict[str, str] | None:
    """Fields of a form; None where it is too long, or is none."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > FORM_BYTES_MAX:
            return None
    try:
        return dict(parse_qsl(body.decode("ascii"), strict_parsing=True, max_num_fields=32))
    except ValueError:
        return None
