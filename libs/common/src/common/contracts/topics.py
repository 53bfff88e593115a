"""The one topic table. Topics are created from it and the documentation is generated from it.

Topics of one co-partition group have the same number of partitions, and a key (account id, or instrument) lands on the
same partition number in each. The number is the deployment's: chosen when its topics are created, read from the cluster
at each start, and frozen from then on: a stage refuses to start on another.
"""

from collections.abc import Iterable
from typing import Final

from streams.model.topics import CHANGELOG_SCHEMA as CHANGELOG_SCHEMA
from streams.model.topics import DAY_MS as DAY_MS
from streams.model.topics import RAW_SCHEMA as RAW_SCHEMA
from streams.model.topics import Compatibility, CoPartitionGroup, changelog_topic, register_topic
from streams.model.topics import Schema as Schema
from streams.model.topics import Topic as Topic

from common.contracts import (
    alerts,
    basis,
    breaks,
    cancels,
    command_records,
    controls,
    events,
    fences,
    leases,
    limit_warnings,
    market,
    market_events,
    reference,
    ticks,
    trader_sessions,
    what_ifs,
)
from common.contracts.message_schemas import DEAD_LETTERS as DEAD_LETTERS
from common.contracts.message_schemas import json_schema as _json
from common.contracts.message_schemas import rows_schema as _rows

MARKET: Final = CoPartitionGroup("market")
"""By instrument."""
ACCOUNTS: Final = CoPartitionGroup("accounts")
"""By account id."""
GROUPS: Final = (MARKET, ACCOUNTS)
AUDIT_MS: Final = 31 * DAY_MS
"""Retention of what a decision is executed again from, and of what led to it: 30 whole days at least."""
READ_BY_STRANGERS: Final[Compatibility] = "BACKWARD_TRANSITIVE"
"""Rule for topics that no stage lives on: readers take the newest schema, and read all that was ever written. What
stages read of each other is read by the release before, too, in every rolling upgrade: FULL_TRANSITIVE.
"""

FRAME_SCHEMA: Final = Schema("tick-frame-1", ticks.decode_frame, bytes, letters=DEAD_LETTERS)
"""Decodes to ``ticks.Frame``; encodes what ``ticks.encode_frame`` made."""


def _signals_rows(name: str, schema: Schema, purpose: str) -> Topic:
    """A topic of signals: rows of a partition, which strangers read."""
    return Topic(name, "partition group", schema, "signals", MARKET, purpose=purpose, compatibility=READ_BY_STRANGERS)


MD_TICKS: Final = Topic(
    "md.ticks",
    "partition group",
    FRAME_SCHEMA,
    "ingest",
    MARKET,
    retention_ms=DAY_MS,
    purpose="normalised ticks",
    also_written_by=("signals",),
)
MD_EVENTS: Final = Topic(
    "md.events",
    "symbol",
    _json("market-event", market_events.MarketEvent),
    "ingest",
    MARKET,
    retention_ms=DAY_MS,
    purpose="trades, quotes, best bids and offers, one a record: of ingest where it is asked to, and of others",
    compatibility=READ_BY_STRANGERS,
)
REF_INSTRUMENTS: Final = Topic(
    "ref.instruments",
    "symbol",
    _json("instrument", reference.Instrument, 3, avro=2),
    "ingest",
    partitions=1,
    cleanup="compact",
    retention_ms=-1,
    purpose="instruments and their int32 ids",
)
MD_BARS: Final = _signals_rows("md.bars", _rows("bars-1", market.BAR, "bar"), "closed and restated bars")
MD_MEASURES: Final = _signals_rows(
    "md.measures", _rows("measured-1", market.MEASURED, "measured"), "what installed measures say of a bar of md.bars"
)
MD_SESSIONS: Final = _signals_rows(
    "md.sessions",
    _rows("sessions-1", market.SESSION, "session"),
    "session windows that were issued, restated or taken back, where there are any",
)
MD_PHASES: Final = _signals_rows(
    "md.phases",
    _rows("phases-1", market.PHASE, "phase"),
    "triggered windows that were issued, restated or taken back, where there are any",
)
MD_LATE: Final = _signals_rows(
    "md.late", _rows("late-1", market.LATE, "late"), "trades that came too late for every window, with the reason"
)
MD_ALERTS: Final = Topic(
    "md.alerts",
    "symbol",
    _rows("alerts-1", alerts.ALERT, "alert", packed=False),
    "signals",
    MARKET,
    purpose="market alerts: what is unusual of a symbol, when it begins, grows graver and ends",
    compatibility=READ_BY_STRANGERS,
)
MD_BOOKS: Final = Topic(
    "md.books",
    "partition group",
    _rows("depths-1", market.DEPTH, "depth"),
    "signals",
    MARKET,
    retention_ms=DAY_MS,
    purpose="top-10 depth of books that changed, per heartbeat",
    compatibility=READ_BY_STRANGERS,
)
MD_MARKS: Final = Topic(
    "md.marks",
    "symbol, or @partition",
    _rows("marks-1", market.MARK, "mark", packed=False),
    "signals",
    MARKET,
    cleanup="compact",
    retention_ms=-1,
    purpose="best bid and offer, last price and trading state of symbols that changed, per heartbeat",
)
ORDERS_INTENTS: Final = Topic(
    "orders.intents",
    "account_id",
    _json("order-intent", events.OrderIntent, 3, avro=2),
    "orders",
    ACCOUNTS,
    purpose="new orders",
)
ORDERS_CANCELS: Final = Topic(
    "orders.cancels",
    "account_id",
    _json("order-cancel", cancels.CancelRequest, 3, avro=2),
    "orders",
    ACCOUNTS,
    purpose="cancel requests",
)
ORDERS_LEASES: Final = Topic(
    "orders.leases",
    "account_id",
    _json("order-lease", leases.LeaseMessage),
    "orders",
    ACCOUNTS,
    retention_ms=AUDIT_MS,
    purpose="leases on open orders: kept, released, lapsed",
)
RISK_COMMANDS: Final = Topic(
    "risk.commands",
    "account_id",
    _json("risk-command", events.RiskCommand, version=3),
    "orders",
    ACCOUNTS,
    retention_ms=AUDIT_MS,
    purpose="accounts and funding",
)
RISK_CONTROL_COMMANDS: Final = Topic(
    "risk.control-commands",
    "account_id, or _firm",
    _json("control-command", controls.ControlCommand, version=2),
    "orders",
    ACCOUNTS,
    retention_ms=-1,
    purpose="limits that are proposed and approved, trading states that are set, by whom and why",
    also_written_by=("risk",),
)
RISK_CONTROLS: Final = Topic(
    "risk.controls",
    "account_id, or _firm in every partition",
    _json("control-result", controls.ControlResult),
    "risk",
    ACCOUNTS,
    retention_ms=-1,
    purpose="one answer per control command, with the limits and states that are in force after it",
)
RISK_WHAT_IFS: Final = Topic(
    "risk.what-ifs",
    "account_id",
    _json("what-if", what_ifs.WhatIfMessage, 2),
    "orders",
    ACCOUNTS,
    retention_ms=DAY_MS,
    also_written_by=("risk",),
    purpose="what the gate would say of an order that nobody sends: questions and answers",
)
RISK_DECISIONS: Final = Topic(
    "risk.decisions",
    "account_id",
    _json("risk-decision", events.RiskDecision, 4, avro=3),
    "risk",
    ACCOUNTS,
    retention_ms=AUDIT_MS,
    purpose="one answer per intent and per command",
)
RISK_LEDGER: Final = Topic(
    "risk.ledger",
    "account_id",
    _json("ledger-entry", events.LedgerEntry, version=3),
    "risk",
    ACCOUNTS,
    retention_ms=-1,
    purpose="every movement of cash, positions and reservations",
)
RISK_BREAKS: Final = Topic(
    "risk.breaks",
    "account_id",
    _json("risk-break", breaks.RiskBreak, 2, avro=1),
    "risk",
    ACCOUNTS,
    retention_ms=-1,
    purpose="execution reports that the books refuse, and what became of each",
)
RISK_WARNINGS: Final = Topic(
    "risk.warnings",
    "account_id",
    _json("limit-warning", limit_warnings.LimitWarning),
    "risk",
    ACCOUNTS,
    retention_ms=AUDIT_MS,
    purpose="accounts that have used up 50, 75, 85, 90 or 95 per cent of a limit, and the order that did it",
)
RISK_BASIS: Final = Topic(
    "risk.basis",
    "account_id, or _firm",
    _json("basis", basis.Basis),
    "risk",
    ACCOUNTS,
    retention_ms=AUDIT_MS,
    purpose="what decisions stand on and nothing else says: code, limits of the deployment, controls in force, losses",
)
AUDIT_COMMANDS: Final = Topic(
    "audit.commands",
    "account_id, or _firm",
    _json("command-record", command_records.CommandRecord),
    "risk",
    ACCOUNTS,
    retention_ms=-1,
    purpose="who gave which command, from where, and what became of it; chained like the ledger",
    compatibility=READ_BY_STRANGERS,
)
VENUE_ORDERS: Final = Topic(
    "venue.orders",
    "symbol, on the partition of its instrument",
    _json("venue-message", events.VenueMessage, 4, avro=3),
    "orders",
    MARKET,
    purpose="accepted orders and cancels on their way to the venue",
)
ORDERS_EXECUTIONS: Final = Topic(
    "orders.executions",
    "account_id",
    _json("execution-report", events.ExecutionReport, 3, avro=2),
    "orders",
    ACCOUNTS,
    retention_ms=AUDIT_MS,
    purpose="what the venue says",
)
ORDERS_EVENTS: Final = Topic(
    "orders.events",
    "account_id",
    _json("order-event", events.OrderEvent, 4, avro=3),
    "orders",
    ACCOUNTS,
    purpose="every transition of every order",
)
ORDERS_CANCEL_REPORTS: Final = Topic(
    "orders.cancel-reports",
    "account_id",
    _json("cancel-report", cancels.CancelReport, 2),
    "orders",
    ACCOUNTS,
    purpose="answers to cancel requests that no event of an order gives",
)

ORDERS_SESSIONS: Final = Topic(
    "orders.sessions",
    "account_id",
    _json("trader-message", trader_sessions.TraderMessage),
    "signals",
    ACCOUNTS,
    purpose="sessions of accounts, from the events of their orders, where any are kept; events that are in none",
    compatibility=READ_BY_STRANGERS,
)
STAGES: Final = register_topic("runtime.stages")
RUNTIME_OPERATIONS: Final = Topic(
    "runtime.operations",
    "operation",
    RAW_SCHEMA,
    "the tidemark command",
    partitions=1,
    cleanup="compact",
    retention_ms=-1,
    purpose="what operators did to stages and dead letters, by whom and why",
)

AUDITOR_FENCES: Final = Topic(
    "auditor.fences",
    "stage/partition",
    _json("fence", fences.Fence),
    "auditor",
    partitions=1,
    cleanup="compact",
    retention_ms=-1,
    purpose="partitions that must stand still because what they have written is broken, and who lifted that",
)

INGEST_FEED_CHANGELOG: Final = changelog_topic("ingest", "feed", MARKET)
SIGNALS_MARKET_CHANGELOG: Final = changelog_topic("signals", "market", MARKET)
SIGNALS_EVENTS_CHANGELOG: Final = changelog_topic("signals", "events", MARKET)
SIGNALS_TRADERS_CHANGELOG: Final = changelog_topic("signals", "traders", ACCOUNTS)
RISK_GATE_CHANGELOG: Final = changelog_topic("risk", "gate", ACCOUNTS)
ORDERS_LIFECYCLE_CHANGELOG: Final = changelog_topic("orders", "lifecycle", ACCOUNTS)
ORDERS_VENUE_CHANGELOG: Final = changelog_topic("orders", "venue", MARKET)

TOPICS: Final[tuple[Topic, ...]] = (
    MD_TICKS,
    MD_EVENTS,
    REF_INSTRUMENTS,
    MD_BARS,
    MD_MEASURES,
    MD_SESSIONS,
    MD_PHASES,
    MD_LATE,
    MD_ALERTS,
    MD_BOOKS,
    MD_MARKS,
    ORDERS_INTENTS,
    ORDERS_CANCELS,
    ORDERS_LEASES,
    RISK_COMMANDS,
    RISK_CONTROL_COMMANDS,
    RISK_CONTROLS,
    RISK_WHAT_IFS,
    RISK_DECISIONS,
    RISK_LEDGER,
    RISK_BREAKS,
    RISK_WARNINGS,
    RISK_BASIS,
    AUDIT_COMMANDS,
    VENUE_ORDERS,
    ORDERS_EXECUTIONS,
    ORDERS_EVENTS,
    ORDERS_CANCEL_REPORTS,
    ORDERS_SESSIONS,
    STAGES,
    RUNTIME_OPERATIONS,
    AUDITOR_FENCES,
    INGEST_FEED_CHANGELOG,
    SIGNALS_MARKET_CHANGELOG,
    SIGNALS_EVENTS_CHANGELOG,
    SIGNALS_TRADERS_CHANGELOG,
    RISK_GATE_CHANGELOG,
    ORDERS_LIFECYCLE_CHANGELOG,
    ORDERS_VENUE_CHANGELOG,
)

STAGE_INPUTS: Final[tuple[Topic, ...]] = (
    MD_TICKS,
    MD_EVENTS,
    MD_MARKS,
    REF_INSTRUMENTS,
    ORDERS_INTENTS,
    ORDERS_CANCELS,
    ORDERS_LEASES,
    RISK_COMMANDS,
    RISK_CONTROL_COMMANDS,
    RISK_CONTROLS,
    RISK_WHAT_IFS,
    RISK_DECISIONS,
    RISK_BREAKS,
    VENUE_ORDERS,
    ORDERS_EXECUTIONS,
    ORDERS_EVENTS,
)
"""Topics that somebody reads, and that therefore have a dead-letter topic."""


def with_dead_letters(topics: Iterable[Topic]) -> list[Topic]:
    """The topics, and after them the dead-letter topics of those that a stage reads."""
    chosen = list(topics)
    return [*chosen, *(topic.dead_letter_topic for topic in chosen if topic in STAGE_INPUTS)]


def market_partition(instrument_id: int) -> int:
    """Partition of an instrument on the topics of the group ``MARKET``."""
    return instrument_id % MARKET.partitions
