"""One audit from beginning to end: reads the copies, reads the log past them, compares, until all has settled."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.contracts.events import CommandResult, Decision, LedgerEntry
from common.contracts.topics import (
    ORDERS_EVENTS,
    ORDERS_EXECUTIONS,
    ORDERS_INTENTS,
    RISK_BREAKS,
    RISK_COMMANDS,
    RISK_DECISIONS,
    RISK_LEDGER,
)
from common.ledger.chain import ChainVerifier
from common.ledger.digests import RowSums, digest_of
from common.ledger.fold import Findings, LedgerFold
from common.ledger.gate_rows import gate_stores
from common.ledger.rows import BreakFold, ExecutionFold, OrderFold
from redis.exceptions import RedisError
from streams.edges.reader import CommittedReader
from streams.model.dead_letters import letter_of
from streams.model.message import Message
from streams.process.settings import Settings

from tidemark.audit.checks import (
    Answers,
    Comparison,
    Copies,
    CopyCheck,
    ExecutionCheck,
    Fills,
    ledger_itself,
    violations,
)
from tidemark.audit.copies import PostgresCopies, RedisCopies, read_gate_changelog, read_gate_stores
from tidemark.console import CommandError
from tidemark.state import Addresses

ROUND_S = 0.5
APPLIED_AT_ONCE = 500
REQUESTS = (ORDERS_INTENTS, RISK_COMMANDS)
DEAD = tuple(topic.dead_letter_topic for topic in REQUESTS)
TOPICS = (*REQUESTS, *DEAD, RISK_DECISIONS, RISK_LEDGER, RISK_BREAKS, ORDERS_EXECUTIONS, ORDERS_EVENTS)

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done and of how much."""


@dataclass(slots=True)
class Folds:
    """Everything the log says, applied record by record."""

    ledger: LedgerFold = field(default_factory=LedgerFold)
    chain: ChainVerifier = field(default_factory=ChainVerifier)
    orders: OrderFold = field(default_factory=OrderFold)
    executions: ExecutionFold = field(default_factory=ExecutionFold)
    breaks: BreakFold = field(default_factory=BreakFold)
    fills: Fills = field(init=False)
    intents: Answers = field(default_factory=lambda: Answers("every intent answered exactly once"))
    commands: Answers = field(default_factory=lambda: Answers("every command answered exactly once"))
    accepted: int = 0
    denied: int = 0
    entry_rows: RowSums = field(default_factory=RowSums)
    """By account: every column of its ledger entries."""
    answers: RowSums = field(default_factory=RowSums)
    """By partition and kind: every column of the gate's answers."""
    unreadable: Findings = field(default_factory=Findings)
    records: int = 0

    def __post_init__(self) -> None:
        self.fills = Fills(self.executions, self.ledger, self.breaks)

    def require(self) -> None:
        """Requires that all the log holds by now is complete in the end; what comes later need not be."""
        self.intents.require()
        self.commands.require()
        self.fills.require()

    def apply(self, message: Message) -> None:
        """Takes one committed record of ``TOPICS``."""
        self.records += 1
        topic = message.topic
        if topic in REQUESTS:
            self._request(message)
        elif topic in DEAD:
            (self.intents if topic is DEAD[0] else self.commands).dead(letter_of(message).place)
        else:
            try:
                body = message.body
            except ValueError as error:
                self.unreadable.add(f"{topic.name} {message.partition}/{message.offset}: {str(error).splitlines()[0]}")
                return
            if topic is RISK_LEDGER:
                self.chain.apply_message(message)
            self._fact(message, body)
            self._sum(message, body)

    def _request(self, message: Message) -> None:
        is_intent = message.topic is ORDERS_INTENTS
        try:
            body = message.body
            name = f"{body.account_id}.{body.client_order_id if is_intent else body.command_id}"
        except ValueError:
            name = ""  # poison: the gate must have set it aside
        (self.intents if is_intent else self.commands).ask((message.partition, message.offset), name)

    def _fact(self, message: Message, body: Any) -> None:
        topic = message.topic
        if topic is RISK_LEDGER:
            self.ledger.apply(body)
        elif topic is ORDERS_EVENTS:
            self.orders.apply(body)
        elif topic is ORDERS_EXECUTIONS:
            self.executions.apply(body, f"{message.partition}-{message.offset}")
        elif topic is RISK_BREAKS:
            self.breaks.apply(body)
        elif isinstance(body, Decision):
            self.intents.answer((body.intent_partition, body.intent_offset), body.order_id)
            self.accepted += body.accepted
            self.denied += not body.accepted
        elif isinstance(body, CommandResult):
            place = (body.command_partition, body.command_offset)
            self.commands.answer(place, f"{body.account_id}.{body.command_id}")

    def _sum(self, message: Message, body: Any) -> None:
        """Adds a record that a table has a row of; PostgreSQL has no NUL in a text, so such a record has none."""
        if b"\\u0000" in (message.value or b""):
            return
        if isinstance(body, LedgerEntry):
            self.entry_rows.add(body.account_id, digest_of(body))
        elif isinstance(body, Decision):
            self.answers.add(f"decisions {message.partition}", digest_of(body))
        elif isinstance(body, CommandResult):
            self.answers.add(f"command results {message.partition}", digest_of(body))

    def is_settled(self) -> bool:
        """Nothing is under way between the gate and the venue that a later record could complete."""
        waiting = self.intents.unanswered() or self.commands.unanswered()
        return not waiting and self.fills.is_settled


@dataclass(frozen=True, slots=True)
class Report:
    """Result of the audit."""

    comparisons: list[Comparison]
    records: int
    accounts: int
    orders_accepted: int
    orders_denied: int
    fills: int
    breaks_open: int
    ledger_sum_e4: int

    @property
    def violations(self) -> int:
        return violations(self.comparisons)

    def as_dict(self) -> dict[str, Any]:
        return {
            "records": self.records,
            "accounts": self.accounts,
            "orders_accepted": self.orders_accepted,
            "orders_denied": self.orders_denied,
            "fills": self.fills,
            "breaks_open": self.breaks_open,
            "ledger_sum_e4": self.ledger_sum_e4,
            "violations": self.violations,
            "comparisons": [comparison.as_dict() for comparison in self.comparisons],
        }


Pairs = list[tuple[CopyCheck, Copies]]


@dataclass(frozen=True, slots=True)
class Source:
    """A place with copies: how to read it, and the checks that what was read goes to, in the same order."""

    read: Callable[[], Awaitable[Sequence[Copies]]]
    checks: tuple[CopyCheck, ...]

    @property
    def is_settled(self) -> bool:
        return all(check.is_settled for check in self.checks)


class Audit:
    """Holds the folds and the copies over the rounds."""

    def __init__(self, settings: Settings, where: Addresses, progress: Progress = lambda *_: None) -> None:
        self._settings = settings
        self._progress = progress
        self._stores = gate_stores(Path(where.data_dir)) if where.data_dir else []
        self.folds = Folds()
        self._postgres = PostgresCopies(where.postgres_dsn)
        self._redis = RedisCopies(where.redis_url)
        ledger, orders, executions = self.folds.ledger, self.folds.orders, self.folds.executions
        gate = "RocksDB accounts" if self._stores else "gate changelog accounts"
        self._sources = (
            Source(self._read_gate, (CopyCheck(f"{gate} = ledger fold", ledger),)),
            Source(
                self._read_postgres,
                (
                    CopyCheck("PostgreSQL balances = ledger fold", ledger),
                    CopyCheck("PostgreSQL orders = order events", orders),
                    ExecutionCheck("PostgreSQL executions = executions", executions),
                    CopyCheck("PostgreSQL ledger entries = ledger, every column", self.folds.entry_rows),
                    CopyCheck("PostgreSQL decisions and command results = decisions, every column", self.folds.answers),
                ),
            ),
            Source(
                self._read_redis,
                (
                    CopyCheck("Redis accounts = ledger fold", ledger),
                    CopyCheck("Redis orders = order events", orders, lambda key: not orders.has_ended(key)),
                    ExecutionCheck("Redis fills = executions", executions, lambda _: False),
                ),
            ),
        )

    async def run(self, timeout_s: float) -> Report:
        """Rounds until everything has settled, at most for ``timeout_s`` seconds after the first."""
        try:
            async with CommittedReader(self._settings, TOPICS, from_beginning=True, client_id="audit") as reader:
                await self._round(reader)
                self.folds.require()
                deadline = time.monotonic() + timeout_s
                while not self._is_settled() and time.monotonic() < deadline:
                    await asyncio.sleep(ROUND_S)
                    await self._round(reader)
        finally:
            await self._redis.close()
        return self._report()

    async def _round(self, reader: CommittedReader) -> None:
        pairs = await self._copies()
        for check, copies in pairs:
            check.note(copies)
        ends = await reader.ends()
        goal = sum(ends.values())
        async for messages in reader.batches_until(ends):
            for number, message in enumerate(messages):
                self.folds.apply(message)
                if number % APPLIED_AT_ONCE == 0:
                    await asyncio.sleep(0)  # answers of the broker must not wait for a whole batch
            self._progress("reading the committed log", min(goal, sum(reader.positions.values())), goal)
        for check, copies in pairs:
            check.compare(copies)

    async def _copies(self) -> Pairs:
        """Reads the places that have not settled yet."""
        self._progress("reading RocksDB, PostgreSQL and Redis", 0, 0)
        pairs: Pairs = []
        for source in self._sources:
            if not source.is_settled:
                pairs += zip(source.checks, await source.read(), strict=True)
        return pairs

    async def _read_gate(self) -> Sequence[Copies]:
        return [read_gate_stores(self._stores) if self._stores else await read_gate_changelog(self._settings)]

    async def _read_postgres(self) -> Sequence[Copies]:
        await self._postgres.read()
        return [
            self._postgres.accounts,
            self._postgres.orders,
            self._postgres.executions,
            self._postgres.entry_rows,
            self._postgres.answers,
        ]

    async def _read_redis(self) -> Sequence[Copies]:
        try:
            await self._redis.read()
        except (RedisError, OSError) as error:
            raise CommandError(f"Redis gave no answer: {error}") from error
        return [self._redis.accounts, self._redis.orders, self._redis.fills]

    def _is_settled(self) -> bool:
        return all(source.is_settled for source in self._sources) and self.folds.is_settled()

    def _report(self) -> Report:
        folds = self.folds
        entries = Findings()
        entries.extend(self._postgres.entry_gaps())
        chain = Findings()
        chain.extend(str(finding) for finding in folds.chain.conclude())
        comparisons = [
            *ledger_itself(folds.ledger),
            Comparison("hash chain of every partition whole", folds.chain.entries, chain),
            folds.intents.result(),
            folds.commands.result(),
            folds.fills.result(),
            Comparison("every record of our own topics readable", folds.records, folds.unreadable),
            Comparison("PostgreSQL ledger entries without a gap", len(self._postgres.entries), entries),
            *(check.result() for source in self._sources for check in source.checks),
        ]
        return Report(
            comparisons=comparisons,
            records=folds.records,
            accounts=len(folds.ledger.accounts),
            orders_accepted=folds.accepted,
            orders_denied=folds.denied,
            fills=sum(row.is_trade for row in folds.executions.of_orders.values()),
            breaks_open=folds.breaks.open,
            ledger_sum_e4=folds.ledger.ledger_sum_e4,
        )
