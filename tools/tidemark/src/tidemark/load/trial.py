"""A trial of the order path: orders over HTTP and through the topic, services killed meanwhile, then the audit."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Final

from tidemark.audit.run import Audit, Report
from tidemark.deployment import Deployment
from tidemark.load.clients import PersistentGateway, open_accounts
from tidemark.load.driver import Load, Tally
from tidemark.load.http import HttpGateway
from tidemark.load.plan import account_names, actions, holdings
from tidemark.load.topic import intents, send_intents
from tidemark.options import reader_settings
from tidemark.quotes import QuoteBoard

SYMBOLS_TRADED: Final = 20
MARKET_TIMEOUT_S: Final = 120.0
PERSIST_S: Final = 180.0
READY_TIMEOUT_S: Final = 180.0
AUDIT_TIMEOUT_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class TrialOptions:
    """How much, and what is killed in turn. ``name`` keeps the order ids of several trials apart."""

    name: str
    over_http: int
    http_per_s: float
    through_topic: int
    kills: Sequence[str] = ()
    between_kills_s: float = 3.0
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of a trial."""

    tally: Tally
    sent: int
    killed: tuple[str, ...]
    load_s: float
    audit_s: float
    audit: Report

    @property
    def unanswered(self) -> int:
        """Requests over HTTP that got no answer, however often they were asked again."""
        return sum(self.tally.errors.values())

    @property
    def violations(self) -> int:
        return self.audit.violations + len(self.tally.unexpected)

    def as_row(self, name: str) -> dict[str, Any]:
        """One row of a results table."""
        return {
            "trial": name,
            "killed": " ".join(self.killed),
            "http_answered": self.tally.accepted + self.tally.denied,
            "http_unanswered": self.unanswered,
            "instead": dict(self.tally.errors),
            "held_back": self.tally.overflow,
            "topic_sent": self.sent,
            "load_s": round(self.load_s, 1),
            "audit_s": round(self.audit_s, 1),
            "accepted": self.audit.orders_accepted,
            "denied": self.audit.orders_denied,
            "fills": self.audit.fills,
            "ledger_sum_e4": self.audit.ledger_sum_e4,
            "violations": self.violations,
        }


class Crowd:
    """Accounts of a deployment, opened once, for any number of trials."""

    def __init__(self, deployment: Deployment, quotes: QuoteBoard, report: Callable[[str], None]) -> None:
        self._deployment = deployment
        self._quotes = quotes
        self._report = report
        self._held: dict[str, tuple[str, ...]] = {}

    async def open(self, accounts: int) -> None:
        """Waits for the market, then opens and funds so many accounts."""
        await self.open_for(account_names(accounts, "trial"))

    async def open_for(self, accounts: Sequence[str]) -> None:
        """The same for accounts by name."""
        symbols = await self._quotes.wait_for_market(SYMBOLS_TRADED, MARKET_TIMEOUT_S)
        await self._quotes.watch(symbols)
        self._held = holdings(accounts, symbols)
        async with HttpGateway(self._deployment.url("orders")) as gateway:
            await open_accounts(gateway, self._held)

    async def trial(self, options: TrialOptions) -> Outcome:
        """Runs one trial to its audit."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            over_http = group.create_task(self._over_http(options))
            through_topic = group.create_task(self._through_topic(options))
            killing = group.create_task(self._kill_in_turn(options))
        loaded = time.monotonic()
        where = self._deployment.addresses
        report = await Audit(reader_settings(where), where).run(AUDIT_TIMEOUT_S)
        audit_s = time.monotonic() - loaded
        return Outcome(over_http.result(), through_topic.result(), killing.result(), loaded - began, audit_s, report)

    async def _over_http(self, options: TrialOptions) -> Tally:
        async with HttpGateway(self._deployment.url("orders")) as gateway:
            load = Load(PersistentGateway(gateway, PERSIST_S), self._quotes, id_prefix=f"{options.name}-http")
            plan = actions(options.seed, self._held, options.http_per_s)
            return await load.run(plan, inf, options.over_http)

    async def _through_topic(self, options: TrialOptions) -> int:
        settings = reader_settings(self._deployment.addresses)
        plan = actions(options.seed + 1, self._held, 1_000.0)
        seconds = options.over_http / options.http_per_s
        orders = intents(plan, self._quotes, f"{options.name}-topic")
        return await send_intents(settings, orders, options.through_topic, options.through_topic / seconds)

    async def _kill_in_turn(self, options: TrialOptions) -> tuple[str, ...]:
        """SIGKILL to each service, one after the other, each time once all are ready again."""
        fleet = self._deployment.fleet
        for name in options.kills:
            await asyncio.sleep(options.between_kills_s)
            await fleet.wait_ready(timeout_s=READY_TIMEOUT_S)
            self._report(f"SIGKILL {name} (pid {fleet.pid(name)})")
            fleet.kill(name)
        if options.kills:
            await asyncio.sleep(options.between_kills_s)
            await fleet.wait_ready(timeout_s=READY_TIMEOUT_S)
        return tuple(options.kills)
