"""The trace id of a request, known before anything answers it: the caller's, or a new one.

A root span that begins within the request takes it (see ``telemetry``), so what the answer names is what was recorded.
"""

import re
import secrets
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Final

HEADER: Final = b"tidemark-trace-id"
MEMBER: Final = "trace_id"
"""Name of the member in a problem's body."""
_TRACEPARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_current: ContextVar[str] = ContextVar("trace_id", default="")


def begin_request(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id of the request whose task this is, 32 hex digits."""
    given = [value for name, value in headers if name == b"traceparent"]
    match = _TRACEPARENT.fullmatch(given[-1]) if given else None
    found = match[1].decode() if match else secrets.token_hex(16)
    _current.set(found)
    return found


def current_trace_id() -> str:
    """Empty outside of a request."""
    return _current.get()
