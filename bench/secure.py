"""The cost of identities and TLS to an order: open fleets and those of `up --secure`, one at a time and in turns.

    python -m bench secure [--rate 100] [--seconds 20] [--rounds 1] [--accounts 50] [--profile DIRECTORY]

A round is four fleets, each alone on this machine with the same quiet market, the same orders and a screen that follows
the accounts: open, secure, secure, open. What changes evenly meanwhile meets both alike, and how far one open fleet is
from the other says what the difference to a secure one is worth. CPU is each process's own, for each order that was
answered; the market's share is in it, and the same at both. Processors in use are printed: where they are nearly all
there are, a clock shows what waits for them, and not what an order costs. Clients speak HTTP in the clear to both, as
`--secure` has it; there they say who they are.

`--profile`: in one turn more of the last fleet of each, py-spy (fetched by uv) looks at the services of the path, one
after the other, and leaves their stacks in the directory, `open-risk.stacks` and so on; the functions whose share has
grown most are a table, and so is the CPU of Kafka's threads.
"""

import argparse
import asyncio
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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

ROUND: Final = ("open", "secure", "secure", "open")
MARKET_RATE: Final = 200.0
SYMBOLS: Final = 50
SYMBOLS_TRADED: Final = 20
WARM_UP_S: Final = 10.0
CPU_MORE_MAX: Final = 0.15
P50_MORE_MS_MAX: Final = 1.0
ALL: Final = "all of them"
JUDGED: Final = ("risk", "push", ALL)
"""The gate, push, and the order's whole path: those that the limit on CPU is for."""
PROFILED: Final = ("risk", "orders", "push")
SHOWN: Final = 15
CLOCKS: Final = (
    "CPU: user and system time of a process and its children (/proc/<pid>/stat), for each order that was answered. In "
    "use: the same of all of them and of the clients, by the second. Verdict, decision: the client's wall clock, and "
    "the gate's, since the order was due (open loop). At push: its own /v1/latency of the last fleet of each kind, "
    "since the order was due until its frame was queued for the client, warm-up included."
)
Row = dict[str, Any]


@dataclass(slots=True)
class Turn:
    """One fleet, measured once. ``used``: processors, with the clients'; p50 and p99 are the verdict's."""

    fleet: str
    cpu_ms: float
    p50_ms: float
    p99_ms: float
    used: float


@dataclass(slots=True)
class Figures:
    """Sums of the turns of fleets of one kind."""

    cpu_s: Counter[str] = field(default_factory=Counter)
    """By process, without the clients'."""
    verdict: LatencyClock = field(default_factory=LatencyClock)
    decision: LatencyClock = field(default_factory=LatencyClock)
    at_push: ClockSummary = NO_SAMPLES
    unanswered: int = 0
    turns: list[Turn] = field(default_factory=list)

    def add(self, fleet: str, tally: Tally, cpu_s: Mapping[str, float], used: float) -> None:
        """One turn more."""
        self.cpu_s.update(cpu_s)
        self.verdict.merge(tally.answered)
        self.decision.merge(tally.processed)
        self.unanswered += tally.errors.total() + tally.overflow
        cpu_ms = 1_000 * sum(cpu_s.values()) / max(tally.answered.n, 1)
        clock = tally.answered
        self.turns.append(Turn(fleet, cpu_ms, clock.percentile_ms(50), clock.percentile_ms(99), used))

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
    """A fleet with clients of its own."""

    def __init__(self, name: str, stack: AsyncExitStack, options: argparse.Namespace) -> None:
        self.name = name
        self._stack = stack
        self._options = options
        self._turns = 0

    async def open(self, directory: Path) -> Self:
        """The fleet, its market, its accounts and its screen."""
        secure = self.name == "secure"
        feed = synthetic_feed(self._options.seed, MARKET_RATE, SYMBOLS)
        deploying = DeploymentOptions(any_free_ports=True, feed=feed, keep=False, access=secure, secure=secure)
        enter = self._stack.enter_async_context
        self.deployment = await enter(Deployment(StateDir(directory), deploying, print))
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

    async def turn(self, seconds: float, figures: Figures) -> None:
        """The same, and measured."""
        self.meter.start()
        tally = await self.load(seconds)
        elapsed_s = self.meter.elapsed_s
        used = self.meter.read()
        in_use = sum(used.values()) / elapsed_s
        used.pop("bench")
        figures.add(self.name, tally, used, in_use)
        report = await latency(self.deployment.url("push"), "total", self._watches())
        figures.at_push = path_clocks(report, "orders").committed

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
    """One for each process of the path, one for all of them, and those of the clocks. ``before``: of the open fleets.

    A clock whose open fleets alone are further apart than the limit tells neither that it is met nor that it is missed.
    """
    apart_ms = _spread(turn.p50_ms for turn in before.turns)
    open_ms, secure_ms = before.cpu_ms_per_order(), after.cpu_ms_per_order()
    made = [_judged(f"CPU ms an order, {who}", open_ms[who], secure_ms[who], who in JUDGED) for who in open_ms]
    for name, one, other in (
        ("verdict", before.verdict.summary(), after.verdict.summary()),
        ("decision of the gate", before.decision.summary(), after.decision.summary()),
        ("at push", before.at_push, after.at_push),
    ):
        made.append(_later(f"{name}, p50 ms", one.p50_ms, other.p50_ms, apart_ms if name == "verdict" else None))
        made.append(_later(f"{name}, p99 ms", one.p99_ms, other.p99_ms))
    return made


def _judged(what: str, before: float, after: float, is_judged: bool) -> Row:
    more = after / before - 1 if before else 0.0
    row = _row(what, round(before, 3), round(after, 3), f"{more:+.1%}" if before else "")
    return row | (_verdict(f"{CPU_MORE_MAX:+.0%}", more <= CPU_MORE_MAX) if is_judged else {})


def _later(what: str, before: float | None, after: float | None, apart_ms: float | None = None) -> Row:
    """``apart_ms``: of two open fleets, where the row is judged."""
    if before is None or after is None:
        return _row(what, before, after, "no samples")
    row = _row(what, round(before, 2), round(after, 2), f"{after - before:+.2f} ms")
    if apart_ms is None:
        return row
    limit = f"{P50_MORE_MS_MAX:+.0f} ms"
    if apart_ms > P50_MORE_MS_MAX:
        return row | {"at most": limit, "": f"open: {apart_ms:.0f} ms apart"}
    return row | _verdict(limit, after - before <= P50_MORE_MS_MAX)


def _row(what: str, before: float | None, after: float | None, more: str) -> Row:
    return {"what": what, "open": before, "secure": after, "more": more, "at most": "", "": ""}


def _verdict(limit: str, is_met: bool) -> Row:
    return {"at most": limit, "": "met" if is_met else "MISSED"}


def turn_rows(turns: Sequence[Turn]) -> list[Row]:
    """Fleets in the order in which they stood, and how far those of one kind are apart: what a difference is worth."""
    made: list[Row] = [
        {
            "fleet": turn.fleet,
            "CPU ms an order": round(turn.cpu_ms, 2),
            "verdict, p50 ms": round(turn.p50_ms, 2),
            "p99 ms": round(turn.p99_ms, 2),
            "processors in use": round(turn.used, 2),
        }
        for turn in turns
    ]
    for name in dict.fromkeys(turn.fleet for turn in turns):
        alike = [turn for turn in turns if turn.fleet == name]
        spread = {"CPU ms an order": _spread(turn.cpu_ms for turn in alike)}
        spread["verdict, p50 ms"] = _spread(turn.p50_ms for turn in alike)
        spread["p99 ms"] = _spread(turn.p99_ms for turn in alike)
        made.append({"fleet": f"{name}, apart by", **spread, "processors in use": _spread(t.used for t in alike)})
    return made


def _spread(values: Iterable[float]) -> float:
    found = list(values)
    return round(max(found) - min(found), 2)


def grown(name: str, before: Mapping[str, float], after: Mapping[str, float]) -> list[Row]:
    """Functions, or threads, that take longer in the secure fleet, the most grown first. µs of CPU an order."""
    more = Counter({what: used - before.get(what, 0.0) for what, used in after.items()})
    listed = [(what, before.get(what, 0.0), after[what]) for what, grown_us in more.most_common(SHOWN) if grown_us > 0]
    listed.append((ALL, sum(before.values()), sum(after.values())))
    return [{name: what, "open µs": round(one), "secure µs": round(other)} for what, one, other in listed]


def show_profiles(before: Profile, after: Profile) -> None:
    """Prints where the secure fleet spends what it spends more."""
    for service in PROFILED:
        show(f"{service}, an order", grown("function", before.functions[service], after.functions[service]))
    show("kafka, an order", grown("thread", before.kafka_threads, after.kafka_threads))


async def bench(options: argparse.Namespace) -> dict[str, Figures]:
    """Runs and prints. Returns what the fleets of each kind have shown."""
    before = conditions()
    figures = {name: Figures() for name in ROUND}
    turns: list[Turn] = []
    profiles: dict[str, Profile] = {}
    for number, name in enumerate(ROUND * options.rounds, 1):
        with tempfile.TemporaryDirectory(prefix="tidemark-bench-") as directory:
            async with AsyncExitStack() as stack:
                side = await Side(name, stack, options).open(Path(directory))
                await side.turn(options.seconds, figures[name])
                turns.append(figures[name].turns[-1])
                if options.profile and number > len(ROUND) * options.rounds - 2:
                    profiles[name] = await side.profile(options.profile, options.seconds)
    if profiles:
        show_profiles(profiles["open"], profiles["secure"])
    counts = {
        f"{what}_{name}": count
        for name, found in figures.items()
        for what, count in (("orders", found.verdict.n), ("unanswered", found.unanswered))
    }
    show(f"secure, fleet by fleet, {os.cpu_count()} processors", turn_rows(turns))
    print(CLOCKS)
    made = rows(figures["open"], figures["secure"])
    show("secure", made, rate_per_s=options.rate, **counts, conditions=before, clocks=CLOCKS)
    return figures


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench secure", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=100.0, help="orders per second (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="per fleet (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="of four fleets (default %(default)s)")
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
