"""Errors that a server answers with by itself, before and beside any application (RFC 9457)."""

from typing import Final, NamedTuple

PREFIX: Final = "urn:tidemark:problem:"
"""A problem's ``type`` is this and the name of its kind in the table."""


class ProblemKind(NamedTuple):
    """Status and title of a kind, and what it tells the client. ``retry``: answered with Retry-After."""

    status: int
    title: str
    meaning: str
    retry: bool = False


SERVER_PROBLEMS: Final[dict[str, ProblemKind]] = {
    "bad-framing": ProblemKind(400, "The request cannot be read", "not HTTP/1.1, or a length that is told twice"),
    "bad-host": ProblemKind(400, "One Host is required", "Host is missing, doubled or malformed"),
    "unauthenticated": ProblemKind(401, "Who is asking?", "no credential, or one that is not good (any more)"),
    "not-permitted": ProblemKind(403, "Not Permitted", "the identity has no right to this request"),
    "not-found": ProblemKind(404, "Not Found", "there is no such path"),
    "method-not-allowed": ProblemKind(405, "Method Not Allowed", "`Allow` names the methods of this path"),
    "request-timeout": ProblemKind(408, "The request took too long", "header or body did not come in time"),
    "target-too-long": ProblemKind(414, "URI Too Long", "path and query together are bounded"),
    "misdirected-request": ProblemKind(421, "Misdirected Request", "this server does not go by the name in Host"),
    "share-exceeded": ProblemKind(
        429, "More than a fair share", "others wait; nothing was done, ask again later", True
    ),
    "header-too-large": ProblemKind(431, "Request Header Fields Too Large", "bytes and number of headers are bounded"),
    "internal-error": ProblemKind(500, "Internal Server Error", "a fault of ours; it is in the log"),
    "issuer-away": ProblemKind(503, "The issuer is away", "its keys are not known, so nobody can be believed", True),
}
