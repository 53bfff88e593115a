"""Answers that are made without an application: problem details as bytes, and the headers that all answers carry."""

import json
from http import HTTPStatus
from typing import Any, Final

from streams.process.trace_ids import MEMBER, current_trace_id
from streams.service.http.problems import PREFIX, SERVER_PROBLEMS

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 1
SECURITY_HEADERS: Final = (
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
"""No page of another origin may show ours in a frame, load from us unasked or hold our window, and no browser guesses
what a body is."""
POLICY: Final = b"frame-ancestors 'none'; default-src 'none'; base-uri 'none'; form-action 'none'"
"""Content policy of an answer that says nothing of its own: it is data, and nothing in it runs or loads."""
STRICT_TRANSPORT: Final = (b"strict-transport-security", b"max-age=31536000")
"""Header of answers over TLS: for a year a browser asks this name by TLS only (RFC 6797)."""


def problem_body(name: str, detail: str, **members: Any) -> bytes:
    """The body of a problem of the table's kind ``name``."""
    kind = SERVER_PROBLEMS[name]
    content = {"type": PREFIX + name, "title": kind.title, "status": kind.status, "detail": detail, **members}
    if trace_id := current_trace_id():
        content[MEMBER] = trace_id
    return json.dumps(content).encode()


def problem_headers(name: str, body: bytes) -> list[tuple[bytes, bytes]]:
    """The headers of such an answer, Retry-After among them where the kind is to be tried again."""
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body))]
    if SERVER_PROBLEMS[name].retry:
        headers.append((b"retry-after", b"%d" % RETRY_AFTER_S))
    return headers


def raw_problem(name: str, detail: str) -> bytes:
    """A whole HTTP/1.1 answer after which the connection is closed."""
    body = problem_body(name, detail)
    kind = SERVER_PROBLEMS[name]
    secured = [(each, POLICY if each == b"content-security-policy" else value) for each, value in SECURITY_HEADERS]
    headers = [*problem_headers(name, body), *secured, (b"connection", b"close")]
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    return b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (kind.status, HTTPStatus(kind.status).phrase.encode(), lines, body)
