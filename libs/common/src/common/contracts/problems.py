"""Every kind of error that an HTTP API of ours answers with (RFC 9457): one table, from which others are derived."""

from typing import Final

from streams.service.http.problems import PREFIX, SERVER_PROBLEMS, ProblemKind

PROBLEMS: Final[dict[str, ProblemKind]] = {
    "malformed-request": ProblemKind(400, "The request is malformed", "a field, header or path does not fit; `errors`"),
    "malformed-json": ProblemKind(
        400, "The body is not JSON", "UTF-8, each key once, finite numbers, nothing after it"
    ),
    "bad-framing": SERVER_PROBLEMS["bad-framing"],
    "bad-host": SERVER_PROBLEMS["bad-host"],
    "bad-request": ProblemKind(400, "Bad Request", "the request is wrong in another way"),
    "unauthenticated": SERVER_PROBLEMS["unauthenticated"],
    "forbidden": ProblemKind(403, "Forbidden", "a page of a foreign origin may not do this"),
    "not-permitted": SERVER_PROBLEMS["not-permitted"],
    "not-found": SERVER_PROBLEMS["not-found"],
    "order-unknown": ProblemKind(404, "No such order", "nobody knows the order, or it is not for this identity"),
    "account-unknown": ProblemKind(404, "No such account", "nobody knows the account, or it is not for this identity"),
    "symbol-unknown": ProblemKind(404, "No such symbol here", "no partition that this process serves has the symbol"),
    "moment-not-kept": ProblemKind(404, "The log does not hold the moment", "it has not come yet, or is kept no more"),
    "method-not-allowed": SERVER_PROBLEMS["method-not-allowed"],
    "request-timeout": SERVER_PROBLEMS["request-timeout"],
    "client-order-id-conflict": ProblemKind(409, "The id is taken", "used with another body; `conflict` says where"),
    "command-id-conflict": ProblemKind(409, "The id is taken", "used with another body; `conflict` says where"),
    "not-cancelable": ProblemKind(409, "The order cannot be canceled", "`order` shows it as it is"),
    "content-too-large": ProblemKind(413, "Content Too Large", "the body was not read on"),
    "target-too-long": SERVER_PROBLEMS["target-too-long"],
    "unsupported-media-type": ProblemKind(415, "Unsupported Media Type", "`application/json`, not compressed"),
    "misdirected-request": SERVER_PROBLEMS["misdirected-request"],
    "order-denied": ProblemKind(422, "The order was denied", "`reason` and the numbers `compared` say why"),
    "command-denied": ProblemKind(422, "The command was denied", "`reason` and the numbers `compared` say why"),
    "share-exceeded": SERVER_PROBLEMS["share-exceeded"],
    "too-many-pending-cancels": ProblemKind(
        429, "Too many cancels wait for the gate", "no effect; ask again once the gate has decided", True
    ),
    "too-many-leases": ProblemKind(429, "Too many leases", "no effect; the account has as many as it may have", True),
    "header-too-large": SERVER_PROBLEMS["header-too-large"],
    "internal-error": SERVER_PROBLEMS["internal-error"],
    "overloaded": ProblemKind(503, "Too many requests at a time", "nothing was done, ask again later", True),
    "not-ready": ProblemKind(503, "The request was not sent", "the tail is not read yet, or too many wait", True),
    "no-verdict": ProblemKind(
        503, "No committed answer in time", "it may be in the log: ask again with the same id and body", True
    ),
    "issuer-away": SERVER_PROBLEMS["issuer-away"],
    "replay-timeout": ProblemKind(503, "The replay took too long", "ask for a later moment, or again", True),
    "reads-degraded": ProblemKind(503, "Reads are degraded", "`trouble` says why; orders and cancels go on", True),
}


def problem_type(name: str) -> str:
    """The ``type`` of a problem of this kind. Raises KeyError where the table does not have it."""
    PROBLEMS[name]
    return PREFIX + name
