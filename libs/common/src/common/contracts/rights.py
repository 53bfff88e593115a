"""The one table of roles and rights. What is not granted here is denied.

Endpoints, views and commands grant to roles of people and programs; topics grant to services. The checks where a
request enters, the documentation (``docs/rights.md``) and the tests that try every cell derive from these rows.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from common.contracts import topics
from common.contracts.topics import Topic
from common.contracts.views import VIEW_WRITERS, WRITER_VIEW, view_channel


class Role(StrEnum):
    """Claim of an identity; one may have several, and may do what any of them may."""

    TRADER = "trader"
    RISK_OFFICER = "risk-officer"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    MARKET_RAW = "market-raw"
    MARKET_AGGREGATE = "market-aggregate"


ROLES: Final[Mapping[Role, str]] = {
    Role.TRADER: "trades for its own accounts and sees them, and no others",
    Role.RISK_OFFICER: "sees every account, cancels, suspends, lifts suspensions, resolves breaks; trades for nobody",
    Role.OPERATOR: "opens accounts, books cash and positions in and out, watches the fleet; sees no orders",
    Role.AUDITOR: "sees every account and the fleet; changes nothing",
    Role.MARKET_RAW: "market data as the exchange sent it: quotes and books, and what is made of them",
    Role.MARKET_AGGREGATE: "what is made of market data: bars",
}
"""Role → what its holder does."""


class Reach(StrEnum):
    """Accounts that a right concerns. A right that concerns no account has ``ALL``."""

    OWN = "own"
    """Those that the identity names."""
    ALL = "all"


Grants = Mapping[Role, Reach]
EVERY_ROLE: Final[Grants] = dict.fromkeys(Role, Reach.ALL)
_OWN: Final[dict[Role, Reach]] = {Role.TRADER: Reach.OWN}


def _all(*roles: Role) -> dict[Role, Reach]:
    return dict.fromkeys(roles, Reach.ALL)


def reach_of(grants: Grants, roles: Iterable[Role]) -> Reach | None:
    """Widest reach that any of the roles has; None where none is granted anything."""
    found = {grants[role] for role in roles if role in grants}
    return Reach.ALL if Reach.ALL in found else Reach.OWN if found else None


# --- endpoints ----------------------------------------------------------------------------------------------------


class Endpoint(NamedTuple):
    """One row: who may call it. ``WEBSOCKET`` is the method of a handshake; ``GET`` stands for ``HEAD``, too.

    ``path`` is the route's template. ``is_public`` rows are answered without an identity.
    """

    service: str
    method: str
    path: str
    grants: Grants
    is_public: bool = False


_READERS: Final = _all(Role.RISK_OFFICER, Role.AUDITOR)
_ACCOUNT: Final = "/v1/accounts/{account_id}"
_ORDER: Final = "/v1/orders/{order_id}"
_CONTROLS: Final = "/v1/controls/{account_id}"
SERVICES: Final = ("ingest", "signals", "risk", "orders", "push", "auditor")

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint("orders", "POST", "/v1/orders", _OWN),
    Endpoint("orders", "POST", "/v1/orders/what-if", _OWN | _all(Role.RISK_OFFICER)),
    Endpoint("orders", "DELETE", "/v1/orders", _OWN | _all(Role.RISK_OFFICER)),
    Endpoint("orders", "GET", _ORDER, _OWN | _READERS),
    Endpoint("orders", "DELETE", _ORDER, _OWN | _all(Role.RISK_OFFICER)),
    Endpoint("orders", "GET", f"{_ORDER}/events", _OWN | _READERS),
    Endpoint("orders", "GET", _ACCOUNT, _OWN | _READERS | _all(Role.OPERATOR)),
    Endpoint("orders", "POST", _ACCOUNT, _all(Role.RISK_OFFICER, Role.OPERATOR)),
    Endpoint("orders", "POST", f"{_ACCOUNT}/fund", _all(Role.OPERATOR)),
    Endpoint("orders", "POST", f"{_ACCOUNT}/withdraw", _all(Role.OPERATOR)),
    Endpoint("orders", "POST", f"{_ACCOUNT}/breaks/{{break_id}}", _all(Role.RISK_OFFICER)),
    Endpoint("orders", "GET", f"{_ACCOUNT}/orders", _OWN | _READERS),
    Endpoint("orders", "DELETE", f"{_ACCOUNT}/orders", _OWN | _all(Role.RISK_OFFICER)),
    Endpoint("orders", "POST", f"{_ACCOUNT}/leases/{{lease_id}}", _OWN),
    Endpoint("orders", "DELETE", f"{_ACCOUNT}/leases/{{lease_id}}", _OWN),
    Endpoint("orders", "GET", f"{_ACCOUNT}/executions", _OWN | _READERS),
    Endpoint("orders", "GET", f"{_ACCOUNT}/ledger", _OWN | _READERS),
    Endpoint("orders", "GET", f"{_ACCOUNT}/profit", _OWN | _READERS),
    Endpoint("orders", "POST", f"{_CONTROLS}/proposals", _all(Role.RISK_OFFICER)),
    Endpoint("orders", "POST", f"{_CONTROLS}/proposals/{{proposal_id}}", _all(Role.RISK_OFFICER)),
    Endpoint("orders", "POST", f"{_CONTROLS}/state", _all(Role.RISK_OFFICER)),
    Endpoint("orders", "GET", "/docs", {}, is_public=True),
    *(
        Endpoint("signals", "GET", f"/v1/markets/{{symbol}}/{question}", _all(Role.MARKET_RAW))
        for question in ("depth", "spread", "imbalance", "indicators", "venues")
    ),
    Endpoint("push", "WEBSOCKET", "/ws", EVERY_ROLE),
    Endpoint("push", "GET", "/v1/me", EVERY_ROLE),
    Endpoint("push", "GET", "/v1/accounts", _OWN | _READERS | _all(Role.OPERATOR)),
    Endpoint("push", "GET", "/v1/latency", EVERY_ROLE),
    Endpoint("push", "GET", "/v1/views", EVERY_ROLE),
    # The dashboard itself: what it shows is asked for with an identity.
    Endpoint("push", "GET", "/config.json", {}, is_public=True),
    Endpoint("push", "GET", "/", {}, is_public=True),
    Endpoint("push", "GET", "/index.html", {}, is_public=True),
    Endpoint("push", "GET", "/favicon.svg", {}, is_public=True),
    Endpoint("push", "GET", "/assets/{file}", {}, is_public=True),
    *(
        Endpoint(service, "GET", path, {}, is_public=True)
        for service in SERVICES
        for path in ("/metrics", "/health/live", "/health/ready", "/openapi.json")
    ),
)


# --- commands -----------------------------------------------------------------------------------------------------


COMMANDS: Final[Mapping[str, Grants]] = {
    "set_account": _all(Role.OPERATOR, Role.RISK_OFFICER),
    "set_account.status": _all(Role.RISK_OFFICER),
    "fund": _all(Role.OPERATOR),
    "withdraw": _all(Role.OPERATOR),
    "resolve_break": _all(Role.RISK_OFFICER),
}
"""Commands on accounts: types of ``risk.commands``. ``set_account`` without a status can only open an account."""


# --- views --------------------------------------------------------------------------------------------------------


_ACCOUNT_VIEW: Final = _OWN | _READERS
VIEWS: Final[Mapping[str, Grants]] = {
    "quote": _all(Role.MARKET_RAW),
    "book": _all(Role.MARKET_RAW),
    "bar": _all(Role.MARKET_RAW, Role.MARKET_AGGREGATE),
    "alert": _all(Role.MARKET_RAW, Role.MARKET_AGGREGATE, Role.RISK_OFFICER),
    "account": _ACCOUNT_VIEW | _all(Role.OPERATOR),
    "order": _ACCOUNT_VIEW,
    "fill": _ACCOUNT_VIEW,
    "break": _ACCOUNT_VIEW,
    "health": _all(Role.RISK_OFFICER, Role.OPERATOR, Role.AUDITOR),
}
"""View that push shows → who may subscribe to it; of the account's views, to which scopes."""


# --- topics -------------------------------------------------------------------------------------------------------


COMMAND_LINE: Final = "tidemark"
"""Identity at the log of whoever operates the fleet by the ``tidemark`` command: it creates topics, reads all of them,
sends dead letters back, and moves positions of stages."""
WORKERS: Final = ("ingest", "signals", "risk", "orders")
"""Services with a stage or a source: each keeps its register, and a changelog of its own."""


class TopicRights(NamedTuple):
    """Services that write a topic, and those that read it. ``COMMAND_LINE`` reads every topic and is not named."""

    writers: tuple[str, ...]
    readers: tuple[str, ...]


READERS: Final[Mapping[Topic, tuple[str, ...]]] = {
    topics.MD_TICKS: ("signals",),
    topics.REF_INSTRUMENTS: ("ingest", "signals", "risk"),
    topics.MD_EVENTS: ("signals",),
    topics.MD_BARS: (),
    topics.MD_MEASURES: (),
    topics.MD_SESSIONS: (),
    topics.MD_PHASES: (),
    topics.MD_LATE: (),
    topics.MD_ALERTS: ("risk",),
    topics.MD_BOOKS: (),
    topics.MD_MARKS: ("risk", "orders"),
    topics.ORDERS_INTENTS: ("risk",),
    topics.ORDERS_CANCELS: ("orders",),
    topics.ORDERS_LEASES: ("orders",),
    topics.RISK_COMMANDS: ("risk",),
    topics.RISK_CONTROL_COMMANDS: ("risk",),
    topics.RISK_CONTROLS: ("risk", "orders"),
    topics.RISK_WHAT_IFS: ("risk", "orders"),
    topics.RISK_DECISIONS: ("orders", "auditor"),
    topics.RISK_LEDGER: ("risk", "orders", "auditor"),
    topics.RISK_BREAKS: ("orders", "auditor"),
    topics.RISK_WARNINGS: (),
    topics.RISK_BASIS: (),
    topics.AUDIT_COMMANDS: (),
    topics.VENUE_ORDERS: ("orders",),
    topics.ORDERS_EXECUTIONS: ("risk", "orders", "auditor"),
    topics.ORDERS_EVENTS: ("signals", "orders", "auditor"),
    topics.ORDERS_CANCEL_REPORTS: ("orders",),
    topics.ORDERS_SESSIONS: (),
    topics.STAGES: (*WORKERS, "auditor"),
    topics.RUNTIME_OPERATIONS: (),
    topics.AUDITOR_FENCES: ("risk", "auditor"),
    **{topic: (topic.owner,) for topic in topics.TOPICS if topic.schema is topics.CHANGELOG_SCHEMA},
}
"""Topic → services that read it; a changelog is read by whose it is."""
_WRITTEN_BY: Final[Mapping[Topic, tuple[str, ...]]] = {
    topics.STAGES: (*WORKERS, COMMAND_LINE),
    topics.RUNTIME_OPERATIONS: (COMMAND_LINE,),
    topics.AUDITOR_FENCES: ("auditor", COMMAND_LINE),
}
"""Writers of topics for which the topic table names no service, or which the command line writes, too."""


def _is_operated(topic: Topic) -> bool:
    """Whether the command line writes it beside its owner: a dead letter goes back, a position is moved."""
    return topic in topics.STAGE_INPUTS or topic.schema is topics.CHANGELOG_SCHEMA


def _rights(topic: Topic) -> TopicRights:
    named = _WRITTEN_BY.get(topic, topic.writers)
    writers = (*named, COMMAND_LINE) if _is_operated(topic) else named
    return TopicRights(writers, READERS.get(topic, ()))


def _dead_letter_rights(topic: Topic) -> TopicRights:
    """Rights to dead letters: readers of a topic set aside what they cannot handle and watch it, the auditor counts."""
    readers = tuple(service for service in READERS.get(topic, ()) if service in WORKERS)
    return TopicRights(readers, (*readers, "auditor"))


TOPIC_RIGHTS: Final[Mapping[str, TopicRights]] = {
    **{topic.name: _rights(topic) for topic in topics.TOPICS},
    **{topic.dead_letters: _dead_letter_rights(topic) for topic in topics.STAGE_INPUTS},
}
"""Topic → services. A topic that is not here is written and read by nobody."""


# --- views in Redis -----------------------------------------------------------------------------------------------


_AUDITED_VIEWS: Final = ("account", "order", "fill")
_HEALTH: Final = "health"


class ViewRights(NamedTuple):
    """Services that write the hashes and channels of a pattern, and those that read them or listen.

    ``COMMAND_LINE`` reads all of them and is not named.
    """

    writers: tuple[str, ...]
    readers: tuple[str, ...]


VIEW_RIGHTS: Final[Mapping[str, ViewRights]] = {
    **{
        view_channel(view, "*"): ViewRights(
            (writer.partition(".")[0],), ("push", "auditor") if view in _AUDITED_VIEWS else ("push",)
        )
        for view, writer in VIEW_WRITERS.items()
    },
    view_channel(WRITER_VIEW, "*"): ViewRights((), ("push",)),
    **{
        view_channel(WRITER_VIEW, writer): ViewRights((writer.partition(".")[0],), ())
        for writer in dict.fromkeys(VIEW_WRITERS.values())
    },
    view_channel(_HEALTH, "*"): ViewRights((), ("push", "auditor")),
    **{view_channel(_HEALTH, service): ViewRights((service,), ()) for service in SERVICES},
}
"""Pattern of Redis names, of hashes and of channels alike → services. A name that fits none is nobody's."""


# --- tables of the projection -------------------------------------------------------------------------------------


class SqlRole(StrEnum):
    """Role at PostgreSQL. None but the owner makes, alters or empties a table."""

    OWNER = "tidemark_owner"
    """Owns the schema: migrations and rebuilds are its."""
    PROJECTION = "tidemark_projection"
    """Writes rows as orders reads them from the log."""
    API = "tidemark_api"
    """Answers of the orders API."""
    AUDITOR = "tidemark_auditor"
    OPERATOR = "tidemark_operator"
    """The command line: it looks."""


SQL_IDENTITIES: Final[Mapping[str, tuple[SqlRole, ...]]] = {
    "orders": (SqlRole.PROJECTION, SqlRole.API),
    "auditor": (SqlRole.AUDITOR,),
    COMMAND_LINE: (SqlRole.OPERATOR,),
    "admin": (SqlRole.OWNER,),
}
"""Holder of a certificate → roles that it may take."""

_LOOK: Final = frozenset({"SELECT"})
_APPEND: Final = _LOOK | {"INSERT"}
_WRITE: Final = _APPEND | {"UPDATE"}
_EVERY_READER: Final = dict.fromkeys((SqlRole.API, SqlRole.AUDITOR, SqlRole.OPERATOR), _LOOK)
_WATCHERS: Final = dict.fromkeys((SqlRole.AUDITOR, SqlRole.OPERATOR), _LOOK)

SQL_RIGHTS: Final[Mapping[str, Mapping[SqlRole, frozenset[str]]]] = {
    "projection_positions": _EVERY_READER | {SqlRole.PROJECTION: _WRITE},
    "orders": _EVERY_READER | {SqlRole.PROJECTION: _WRITE},
    "order_events": _EVERY_READER | {SqlRole.PROJECTION: _APPEND},
    "executions": _EVERY_READER | {SqlRole.PROJECTION: _WRITE},
    "decisions": _EVERY_READER | {SqlRole.PROJECTION: _APPEND},
    "command_results": _WATCHERS | {SqlRole.PROJECTION: _APPEND},
    "accounts": _EVERY_READER | {SqlRole.PROJECTION: _WRITE},
    "ledger_entries": _EVERY_READER | {SqlRole.PROJECTION: _APPEND},
    "balances": _EVERY_READER | {SqlRole.PROJECTION: _WRITE},
    "projection_holes": {SqlRole.OPERATOR: _LOOK, SqlRole.PROJECTION: _APPEND},
    "projection_rebuilds": {SqlRole.OPERATOR: _LOOK},
    "schema_migrations": {SqlRole.OPERATOR: _LOOK, SqlRole.PROJECTION: _LOOK},
}
"""Table of the projection → what each role may do with its rows; all of it is the owner's."""
