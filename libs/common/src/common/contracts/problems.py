"""Every kind of error that an HTTP API of ours answers with (RFC 9457): one table, from which others are derived."""

from typing import Final, NamedTuple

PREFIX: Final = "urn:tidemark:problem:"
"""A problem's ``type`` is this and the name of its kind in the table."""


class ProblemKind(NamedTuple):
    """Status and title of a kind, and what it tells the client. ``retry``: answered with Retry-After."""

    status: int
    title: str
    meaning: str
    retry: bool = False


PROBLEMS: Final[dict[str, ProblemKind]] = {
    "malformed-request": ProblemKind(400, "The request is malformed", "a field, header or path does not fit; `errors`"),
    "malformed-json": ProblemKind(
        400, "The body is not JSON", "UTF-8, each key once, finite numbers, nothing after it"
    ),
    "bad-framing": ProblemKind(400, "The request cannot be read", "not HTTP/1.1, or a length that is told twice"),
    "bad-host": ProblemKind(400, "One Host is required", "Host is missing, doubled or malformed"),
    "bad-request": ProblemKind(400, "Bad Request", "the request is wrong in another way"),
    "forbidden": ProblemKind(403, "Forbidden", "a page of a foreign origin may not do this"),
    "not-found": ProblemKind(404, "Not Found", "there is no such path"),
    "order-unknown": ProblemKind(404, "No such order", "neither the log nor the read side knows the order"),
    "account-unknown": ProblemKind(404, "No such account", "the read side does not know the account"),
    "method-not-allowed": ProblemKind(405, "Method Not Allowed", "`Allow` names the methods of this path"),
    "request-timeout": ProblemKind(408, "The request took too long", "header or body did not come in time"),
    "client-order-id-conflict": ProblemKind(409, "The id is taken", "used with another body; `conflict` says where"),
    "command-id-conflict": ProblemKind(409, "The id is taken", "used with another body; `conflict` says where"),
    "not-cancelable": ProblemKind(409, "The order cannot be canceled", "`order` shows it as it is"),
    "content-too-large": ProblemKind(413, "Content Too Large", "the body was not read on"),
    "target-too-long": ProblemKind(414, "URI Too Long", "path and query together are bounded"),
    "unsupported-media-type": ProblemKind(415, "Unsupported Media Type", "`application/json`, not compressed"),
    "misdirected-request": ProblemKind(421, "Misdirected Request", "this server does not go by the name in Host"),
    "order-denied": ProblemKind(422, "The order was denied", "`reason` and the numbers `compared` say why"),
    "command-denied": ProblemKind(422, "The command was denied", "`reason` and the numbers `compared` say why"),
    "share-exceeded": ProblemKind(
        429, "More than a fair share", "others wait; nothing was done, ask again later", True
    ),
    "too-many-pending-cancels": ProblemKind(
        429, "Too many cancels wait for the gate", "no effect; ask again once the gate has decided", True
    ),
    "header-too-large": ProblemKind(431, "Request Header Fields Too Large", "bytes and number of headers are bounded"),
    "internal-error": ProblemKind(500, "Internal Server Error", "a fault of ours; it is in the log"),
    "overloaded": ProblemKind(503, "Too many requests at a time", "nothing was done, ask again later", True),
    "not-ready": ProblemKind(503, "The request was not sent", "the tail is not read yet, or too many wait", True),
    "no-verdict": ProblemKind(
        503, "No committed answer in time", "it may be in the log: ask again with the same id and body", True
    ),
    "reads-degraded": ProblemKind(503, "Reads are degraded", "`trouble` says why; orders and cancels go on", True),
}


def problem_type(name: str) -> str:
    """The ``type`` of a problem of this kind. Raises KeyError where the table does not have it."""
    PROBLEMS[name]
    return PREFIX + name
