"""The demo: a market, a fleet, a crowd of clients, and at the end the audit."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from common.contracts.market import BAR
from common.contracts.rights import Role
from common.contracts.topics import MD_BARS
from parts import PartsError
from parts.page import PageError, open_page

from tidemark import metrics
from tidemark.audit.run import Audit
from tidemark.audit.run import Report as AuditReport
from tidemark.deployment import Deployment
from tidemark.fleet import FleetError
from tidemark.load.clients import open_accounts
from tidemark.load.driver import Load, Tally
from tidemark.load.http import HttpGateway
from tidemark.load.plan import account_names, actions, holdings
from tidemark.log_end import read_committed
from tidemark.options import reader_settings
from tidemark.quotes import QuoteBoard
from tidemark.watcher import PathClocks, Watcher, latency, path_clocks

MARKET_TIMEOUT_S: Final = 120.0
SYMBOLS_TRADED: Final = 20
AUDIT_TIMEOUT_S: Final = 60.0
SAMPLE_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Options of a demo."""

    seed: int = 1
    accounts: int = 200
    orders_per_s: float = 40.0
    seconds: float | None = None
    browser: bool = False
    """Look at the dashboard in a headless browser, so that the painted clock runs."""


@dataclass(slots=True)
class Sample:
    """One reading of the running demo."""

    at_s: float = 0.0
    ticks: float = 0.0
    ticks_per_s: float = 0.0
    bars: float = 0.0
    market: PathClocks = field(default_factory=PathClocks)
    orders: PathClocks = field(default_factory=PathClocks)
    ready: Mapping[str, bool] = field(default_factory=dict)


class Running:
    """A counter of a process that may have been restarted: what it lost is added back."""

    def __init__(self) -> None:
        self._lost = 0.0
        self._last = 0.0

    def read(self, value: float) -> float:
        """The total so far, given the counter's value now (0 where the process does not answer)."""
        if value < self._last:
            if not value:
                return self._lost + self._last
            self._lost += self._last
        self._last = value
        return self._lost + value


class Demo:
    """One run against a deployment."""

    def __init__(self, deployment: Deployment, options: DemoOptions, report: Callable[[str], None]) -> None:
        self._deployment = deployment
        self._options = options
        self._report = report
        self._pages = {name: deployment.operations_url(name) for name in deployment.fleet.names}
        self._trades = deployment.credential("load", (Role.TRADER, Role.OPERATOR))
        self._watches = deployment.credential("watcher", (Role.AUDITOR, Role.MARKET_RAW))
        self._ticks = Running()
        self._began = Sample()
        self._load: Load | None = None
        self.sample = Sample()
        self.tally = Tally()
        self.trading_since_s: float | None = None

    async def run(self, on_sample: Callable[["Demo"], None]) -> None:
        """Trades for the chosen time, or until cancelled or asked to stop by ``tidemark down``."""
        async with QuoteBoard(self._deployment.addresses.redis_url) as quotes:
            symbols = await self._wait_for_market(quotes)
            await quotes.watch(symbols)
            held = holdings(account_names(self._options.accounts), symbols)
            async with HttpGateway(self._deployment.url("orders"), credential=self._trades) as gateway:
                self._report(f"opening {len(held)} accounts that trade {len(symbols)} symbols")
                await open_accounts(gateway, held)
                load = Load(gateway, quotes, id_prefix=f"d{time.time_ns() // 1_000_000:x}")
                self._load, self.tally = load, load.tally
                plan = actions(self._options.seed, held, self._options.orders_per_s)
                async with (
                    self._screen(next(iter(held)), symbols[0]),
                    Watcher(self._deployment.url("push"), list(held), self._watches),
                    self._sampled(on_sample),
                ):
                    self.trading_since_s = time.monotonic()
                    self._report("trading")
                    await self._until_stopped(load.run(plan, self._options.seconds or float("inf")))

    @asynccontextmanager
    async def _screen(self, account: str, symbol: str) -> AsyncIterator[None]:
        """A browser on the dashboard. Without one the demo goes on; the painted clock then stands still."""
        if not self._options.browser:
            yield
            return
        async with AsyncExitStack() as stack:
            self._report("opening the dashboard in a headless browser")
            try:
                page = await stack.enter_async_context(open_page(1280, 800))
                await page.goto(self._deployment.dashboard(symbol=symbol, account=account))
            except (PartsError, PageError, TimeoutError, OSError) as error:
                self._report(f"no browser, so nothing is painted: {error}")
            yield

    async def _until_stopped(self, trading: Any) -> None:
        load = asyncio.ensure_future(trading)
        stopped = asyncio.ensure_future(self._deployment.stopped.wait())
        try:
            await asyncio.wait({load, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if load.done():
                load.result()
        finally:
            for task in (load, stopped):
                task.cancel()
            await asyncio.gather(load, stopped, return_exceptions=True)

    async def _wait_for_market(self, quotes: QuoteBoard) -> list[str]:
        self._report("waiting for the market to open")
        try:
            return await quotes.wait_for_market(SYMBOLS_TRADED, MARKET_TIMEOUT_S)
        except TimeoutError:
            text = f"no symbol has a two-sided quote after {MARKET_TIMEOUT_S:.0f} s; see the logs of signals"
            raise FleetError(text) from None

    @asynccontextmanager
    async def _sampled(self, on_sample: Callable[["Demo"], None]) -> AsyncIterator[None]:
        await self._take_sample()
        self._began = self.sample

        async def keep_sampling() -> None:
            while True:
                await asyncio.sleep(SAMPLE_S)
                await self._take_sample()
                on_sample(self)

        sampling = asyncio.create_task(keep_sampling(), name="samples")
        try:
            yield
            await self._take_sample()
        finally:
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)

    async def _take_sample(self) -> None:
        pages = await metrics.scrape(self._pages)
        recent = await latency(self._deployment.url("push"), "recent", self._watches())
        now_s = time.monotonic()
        ticks = self._ticks.read(metrics.total(pages["ingest"], "tidemark_ingest_ticks_total"))
        elapsed_s = now_s - self.sample.at_s if self.sample.at_s else 0.0
        self.sample = Sample(
            at_s=now_s,
            ticks=ticks,
            ticks_per_s=(ticks - self.sample.ticks) / elapsed_s if elapsed_s else 0.0,
            bars=metrics.total(pages["signals"], "tidemark_signals_bars_total"),
            market=path_clocks(recent, "market"),
            orders=path_clocks(recent, "orders"),
            ready={row.name: row.ready for row in await self._deployment.fleet.status()},
        )

    async def conclude(self, progress: Callable[[str, int, int], None]) -> tuple[dict[str, Any], AuditReport]:
        """The audit, and the object that is printed last."""
        settings = reader_settings(self._deployment.addresses)
        audit = await Audit(settings, self._deployment.addresses, progress).run(AUDIT_TIMEOUT_S)
        bars = 0
        async for messages in read_committed(settings, [MD_BARS]):
            bars += sum(len(message.value or b"") // BAR.itemsize for message in messages)
        total = await latency(self._deployment.url("push"), "total", self._watches())
        clocks = {path: path_clocks(total, path).as_dict() for path in ("orders", "market")}
        seconds = self.sample.at_s - self._began.at_s
        summary: dict[str, Any] = {
            "seconds": round(seconds, 1),
            "ticks": int(self.sample.ticks),
            "ticks_per_s": round((self.sample.ticks - self._began.ticks) / seconds) if seconds else 0,
            "bars": bars,
            "orders_accepted": audit.orders_accepted,
            "orders_denied": audit.orders_denied,
            "fills": audit.fills,
            "ledger_sum_e4": audit.ledger_sum_e4,
            "violations": audit.violations + len(self.tally.unexpected),
            # By clock for the orders path, the one that people wait for; then both paths in full.
            **clocks["orders"],
            "orders": clocks["orders"],
            "market": clocks["market"],
            "verdict": self.tally.answered.summary().as_dict(),
            "unanswered": sum(self.tally.errors.values()) + self.tally.overflow,
        }
        return summary, audit
