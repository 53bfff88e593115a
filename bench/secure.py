"""The cost of identities and TLS to an order: an open fleet and one of `up --secure`, side by side and in turns.

    python -m bench secure [--rate 100] [--seconds 20] [--turns 3] [--accounts 50] [--profile DIRECTORY]

Both stand on this machine with the same quiet market, and a screen that follows the accounts at each. They take turns
with the same orders, so that what else the machine does meets both. CPU is each process's own, for each order that was
answered; the market's share is in it, and the same at both. Clients speak HTTP in the clear to both, as `--secure` has
it; there they say who they are.

`--profile`: in one turn more of each, py-spy (fetched by uv) looks at the services of the path, one after the other,
and leaves their stacks in the directory, `open-risk.stacks` and so on; the functions whose share has grown most are a
table, and so is the CPU of Kafka's threads.
"""

import argparse
import asyncio
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from common.contracts.rights import Role
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import synthetic_feed
from tidemark.load.clients import open_accounts
from tidemark.load.driver import Load, Tally
from tidemark.load.http import HttpGateway
from tidemark.load.latency import NO_SAMPLES, ClockSummary, LatencyClock
from tidemark.load.plan import account_names, actions, holdings
from tidemark.quotes import QuoteBoard
from tidemark.state import StateDir
from tidemark.watcher import Watcher, latency, path_clocks

from bench.gate.risk_profile import innermost, recording, thread_seconds
from bench.harness import conditions, meter_of, show

MARKET_RATE: Final = 500.0
SYMBOLS: Final = 50
SYMBOLS_TRADED: Final = 20
WARM_UP_S: Final = 5.0
CPU_MORE_MAX: Final = 0.15
P50_MORE_MS_MAX: Final = 1.0
ALL: Final = "all of them"
JUDGED: Final = ("risk", "push", ALL)
"""The gate, push, and the order's whole path: those that the limit on CPU is for."""
PROFILED: Final = ("risk", "orders", "push")
SHOWN: Final = 15
CLOCKS: Final = (
    "CPU: user and system time of a process and its children (/proc/<pid>/stat), for each order that was answered. "
    "Verdict, decision: the client's wall clock, and the gate's, since the order was due (open loop). At push: its own "
    "/v1/latency, since the order was due until its frame was queued for the client, warm-up included."
)
Row = dict[str, Any]


@dataclass(slots=True)
class Figures:
    """Sums of the turns of one fleet."""

    cpu_s: Counter[str] = field(default_factory=Counter)
    """By process, without the clients'."""
    verdict: LatencyClock = field(default_factory=LatencyClock)
    decision: LatencyClock = field(default_factory=LatencyClock)
    at_push: ClockSummary = NO_SAMPLES
    unanswered: int = 0
    by_turn: list[tuple[float, float]] = field(default_factory=list)
    """CPU ms an order, and p50 of the verdict in ms."""

    def add(self, tally: Tally, cpu_s: Mapping[str, float]) -> None:
        """One turn more."""
        self.cpu_s.update(cpu_s)
        self.verdict.merge(tally.answered)
        self.decision.merge(tally.processed)
        self.unanswered += tally.errors.total() + tally.overflow
        cpu_ms = 1_000 * sum(cpu_s.values()) / max(tally.answered.n, 1)
        self.by_turn.append((cpu_ms, tally.answered.percentile_ms(50)))

    def cpu_ms_per_order(self) -> dict[str, float]:
        """By process, and of all of them."""
        used = {who: 1_000 * used_s / max(self.verdict.n, 1) for who, used_s in self.cpu_s.items()}
        return {**used, ALL: sum(used.values())}


class Profile(NamedTuple):
    """µs of CPU an order."""

    functions: dict[str, dict[str, float]]
    """By service and function, whose share of py-spy's samples is taken of what the process used."""
    kafka_threads: dict[str, float]
    """By name, of which the kernel keeps fifteen letters."""


class Side:
    """One of the two fleets, with clients of its own, and what its turns have shown so far."""

    def __init__(self, name: str, stack: AsyncExitStack, options: argparse.Namespace) -> None:
        self.name = name
        self.figures = Figures()
        self._stack = stack
        self._options = options
        self._turns = 0

    async def open(self, directory: Path) -> Self:
        """The fleet, its market, its accounts and its screen."""
        secure = self.name == "secure"
        feed = synthetic_feed(self._options.seed, MARKET_RATE, SYMBOLS)
        deploying = DeploymentOptions(any_free_ports=True, feed=feed, keep=False, access=secure, secure=secure)
        enter = self._stack.enter_async_context
        self.deployment = await enter(Deployment(StateDir(directory / self.name), deploying, print))
        self._quotes = await enter(QuoteBoard(self.deployment.addresses.redis_url))
        symbols = await self._quotes.wait_for_market(SYMBOLS_TRADED, 120)
        await self._quotes.watch(symbols)
        trades = self.deployment.credential("load", (Role.TRADER, Role.OPERATOR))
        self._watches = self.deployment.credential("watcher", (Role.AUDITOR, Role.MARKET_RAW))
        self._gateway = await enter(HttpGateway(self.deployment.url("orders"), credential=trades))
        self._held = holdings(account_names(self._options.accounts, "bench"), symbols)
        await open_accounts(self._gateway, self._held)
        await enter(Watcher(self.deployment.url("push"), list(self._held), self._watches))
        self.meter = meter_of(self.deployment)
        await self.load(WARM_UP_S)
        return self

    async def load(self, seconds: float) -> Tally:
        """Orders for so long."""
        self._turns += 1
        load = Load(self._gateway, self._quotes, id_prefix=f"turn{self._turns}")
        return await load.run(actions(self._options.seed, self._held, self._options.rate), seconds)

    async def turn(self, seconds: float) -> None:
        """The same, and measured."""
        self.meter.start()
        tally = await self.load(seconds)
        used = self.meter.read()
        used.pop("bench")
        self.figures.add(tally, used)
        report = await latency(self.deployment.url("push"), "total", self._watches())
        self.figures.at_push = path_clocks(report, "orders").committed

    async def profile(self, directory: Path, seconds: float) -> Profile:
        """Orders for as long again for each service of the path, with py-spy looking at it."""
        kafka = self.meter.pids["kafka"]
        began, orders, functions = Counter(thread_seconds(kafka)), 0, {}
        for service in PROFILED:
            path = directory / f"{self.name}-{service}.stacks"
            self.meter.start()
            async with recording(self.meter.pids[service], path):
                answered = (await self.load(seconds)).answered.n
                used_us = 1e6 * self.meter.read()[service] / max(answered, 1)
            samples = innermost(path.read_text("utf-8").splitlines())
            functions[service] = {name: used_us * count / samples.total() for name, count in samples.items()}
            orders += answered
        ended = thread_seconds(kafka)
        return Profile(functions, {name: 1e6 * (used - began[name]) / orders for name, used in ended.items()})


def rows(before: Figures, after: Figures) -> list[Row]:
    """One for each process of the path, one for all of them, and those of the clocks. ``before``: of the open fleet."""
    open_ms, secure_ms = before.cpu_ms_per_order(), after.cpu_ms_per_order()
    made = [_judged(f"CPU ms an order, {who}", open_ms[who], secure_ms[who], who in JUDGED) for who in open_ms]
    for name, one, other in (
        ("verdict", before.verdict.summary(), after.verdict.summary()),
        ("decision of the gate", before.decision.summary(), after.decision.summary()),
        ("at push", before.at_push, after.at_push),
    ):
        made.append(_later(f"{name}, p50 ms", one.p50_ms, other.p50_ms, is_judged=name == "verdict"))
        made.append(_later(f"{name}, p99 ms", one.p99_ms, other.p99_ms, is_judged=False))
    return made


def _judged(what: str, before: float, after: float, is_judged: bool) -> Row:
    more = after / before - 1 if before else 0.0
    row = _row(what, round(before, 3), round(after, 3), f"{more:+.1%}" if before else "")
    return row | (_verdict(f"{CPU_MORE_MAX:+.0%}", more <= CPU_MORE_MAX) if is_judged else {})


def _later(what: str, before: float | None, after: float | None, is_judged: bool) -> Row:
    if before is None or after is None:
        return _row(what, before, after, "no samples")
    row = _row(what, round(before, 2), round(after, 2), f"{after - before:+.2f} ms")
    return row | (_verdict(f"{P50_MORE_MS_MAX:+.0f} ms", after - before <= P50_MORE_MS_MAX) if is_judged else {})


def _row(what: str, before: float | None, after: float | None, more: str) -> Row:
    return {"what": what, "open": before, "secure": after, "more": more, "at most": "", "": ""}


def _verdict(limit: str, is_met: bool) -> Row:
    return {"at most": limit, "": "met" if is_met else "MISSED"}


def turn_rows(before: Figures, after: Figures) -> list[Row]:
    """Pairs of turns: how far one is from the next says what the difference of two is worth."""
    return [
        {
            "turn": number,
            **{f"CPU ms an order, {name}": round(cpu, 2) for name, (cpu, _) in (("open", one), ("secure", other))},
            "more": f"{other[0] / one[0] - 1:+.1%}",
            **{f"p50 ms, {name}": round(p50, 2) for name, (_, p50) in (("open", one), ("secure", other))},
            "later by": f"{other[1] - one[1]:+.2f} ms",
        }
        for number, (one, other) in enumerate(zip(before.by_turn, after.by_turn, strict=True), 1)
    ]


def grown(name: str, before: Mapping[str, float], after: Mapping[str, float]) -> list[Row]:
    """Functions, or threads, that take longer in the secure fleet, the most grown first. µs of CPU an order."""
    more = Counter({what: used - before.get(what, 0.0) for what, used in after.items()})
    listed = [(what, before.get(what, 0.0), after[what]) for what, grown_us in more.most_common(SHOWN) if grown_us > 0]
    listed.append((ALL, sum(before.values()), sum(after.values())))
    return [{name: what, "open µs": round(one), "secure µs": round(other)} for what, one, other in listed]


async def profile(plain: Side, secure: Side, directory: Path, seconds: float) -> None:
    """Prints where the secure fleet spends what it spends more."""
    before, after = await plain.profile(directory, seconds), await secure.profile(directory, seconds)
    for service in PROFILED:
        show(f"{service}, an order", grown("function", before.functions[service], after.functions[service]))
    show("kafka, an order", grown("thread", before.kafka_threads, after.kafka_threads))


async def bench(options: argparse.Namespace) -> tuple[Figures, Figures]:
    """Runs and prints. Returns what the open fleet has shown, and the secure one."""
    before = conditions()
    with tempfile.TemporaryDirectory(prefix="tidemark-bench-") as directory:
        async with AsyncExitStack() as stack:
            # The open one first: while the other stands, this process is the command line to its parts.
            plain = await Side("open", stack, options).open(Path(directory))
            secure = await Side("secure", stack, options).open(Path(directory))
            for number in range(options.turns):
                for side in (plain, secure) if number % 2 == 0 else (secure, plain):
                    await side.turn(options.seconds)
            if options.profile:
                await profile(plain, secure, options.profile, options.seconds)
    counts = {
        f"{what}_{side.name}": count
        for side in (plain, secure)
        for what, count in (("orders", side.figures.verdict.n), ("unanswered", side.figures.unanswered))
    }
    show("secure, turn by turn", turn_rows(plain.figures, secure.figures))
    print(CLOCKS)
    show(
        "secure",
        rows(plain.figures, secure.figures),
        rate_per_s=options.rate,
        **counts,
        conditions=before,
        clocks=CLOCKS,
    )
    return plain.figures, secure.figures


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench secure", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=100.0, help="orders per second (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="per turn (default %(default)s)")
    parser.add_argument("--turns", type=int, default=3, help="of each (default %(default)s)")
    parser.add_argument("--accounts", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", type=Path, help="one turn more, with py-spy looking; its stacks go here")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    if options.profile:
        options.profile.mkdir(parents=True, exist_ok=True)
    asyncio.run(bench(options))


if __name__ == "__main__":
    main()
