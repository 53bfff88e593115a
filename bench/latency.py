"""Intent created → decision committed and received, open loop, beside the floor and Kafka Streams, in the same run.

    python -m bench latency [--seconds 20] [--rates 500,2000,10000] [--intervals 100,10,5,1]

The floor is one plain produce → consume hop. The bare gate runs with one transactional producer per task and with one
for the process. Ratios are to Kafka Streams' best of all commit intervals, each percentile for itself: at most 1 is as
good as the best. A second table says where a commit of Tidemark's spends its milliseconds.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from parts import PartsError
from rich.console import Console

from bench.harness import conditions, show
from bench.peers import programs
from bench.peers.programs import Program, Work
from bench.peers.runner import BenchError, Runner, make_topics, parts

ROOT: Final = Path(__file__).resolve().parent.parent
WARM_S: Final = 3.0
"""Before every measurement, at its rate."""
WARM_UP: Final = {"rate": 4_000, "seconds": 6, "warm": 0}
"""Before a processor's first measurement: the JVM compiles what is hot."""
QUICK_WARM_UP: Final = {"rate": 500, "seconds": 2, "warm": 0}
START_S: Final = 60.0
PERCENTILES: Final = ("p50", "p99", "p99.9")
STEPS: Final = ("apply", "append", "produce", "end transaction", "store")
PRODUCERS: Final = ("task", "process")
err = Console(stderr=True)
Row = dict[str, Any]


class Bench:
    """One broker, and measurements against it."""

    def __init__(self, runner: Runner, bootstrap: str, options: argparse.Namespace) -> None:
        self._runner = runner
        self._bootstrap = bootstrap
        self._options = options
        self.rows: list[Row] = []
        self.steps: list[Row] = []

    async def _load(self, intents: str, decisions: str, **more: float) -> Row:
        topics: dict[str, str | int | float] = {"intents": intents, "decisions": decisions}
        return await self._runner.client(self._bootstrap, "latency", topics | more)

    async def _rates(self, label: str, intents: str, decisions: str, measured: Callable[[Row], None]) -> None:
        for rate in self._options.rates:
            result = await self._load(intents, decisions, rate=rate, seconds=self._options.seconds, warm=WARM_S)
            missing, twice = result["sent"] - result["received"], result["twice"]
            if missing or twice:
                err.print(f"[bold]{label} at {rate:,}/s: {missing} missing, {twice} twice")
            self.rows.append(
                {"processor": label, "rate /s": rate, **{name: result.get(name) for name in PERCENTILES},
                 "missing": missing, "twice": twice}
            )  # fmt: skip
            measured(result)

    async def floor(self) -> None:
        """One hop."""
        await make_topics(self._bootstrap, "bench.floor")
        await self._rates("floor: produce → consume", "bench.floor", "bench.floor", lambda _: None)

    async def processor(self, name: str, make: Callable[[Work], Program], steps: Path | None = None) -> None:
        """Starts one on fresh topics, waits until it decides, warms it up and measures every rate."""
        work = Work(self._bootstrap, f"bench.{name}.intents", f"bench.{name}", self._runner.new_directory(name))
        program = make(work)
        err.print(program.label)
        await make_topics(self._bootstrap, work.intents, work=work)
        async with self._runner.running(program) as running:
            deadline_s = time.monotonic() + START_S
            while not (await self._load(work.intents, work.decisions, rate=50, seconds=0.2))["received"]:
                running.check()
                if time.monotonic() > deadline_s:
                    raise BenchError(f"{program.label} decided nothing in {START_S:.0f} s")
            await self._load(work.intents, work.decisions, **(QUICK_WARM_UP if self._options.quick else WARM_UP))

            def take_steps(result: Row) -> None:
                if steps is not None:
                    self.steps.append(
                        {"processor": program.label, "rate /s": round(result["rate"]), **steps_of(steps, result)}
                    )

            await self._rates(program.label, work.intents, work.decisions, take_steps)

    async def run(self) -> None:
        """Everything, one after the other."""
        await self.floor()
        for producers in PRODUCERS:
            steps = self._runner.directory / f"steps-{producers}"

            await self.processor(f"tidemark-{producers}", partial(timed, producers, steps), steps)
        for interval_ms in self._options.intervals:
            await self.processor(f"ks-{interval_ms}", partial(programs.streams, commit_ms=interval_ms))


def timed(producers: str, steps: Path, work: Work) -> Program:
    """Tidemark's bare gate, with its steps written to a file."""
    made = programs.tidemark(work, producers)
    module = [sys.executable, "-m", "bench.gate.timed", "--steps", str(steps)]
    return Program(made.label, [*module, *made.argv[2:]], {**made.environment, "PYTHONPATH": str(ROOT)})


def steps_of(path: Path, result: Row) -> Row:
    """Median and 99th percentile in ms of every step, of the commits within the measurement."""
    time.sleep(1.0)  # the last ones are being written
    lines = path.read_text(encoding="ascii").splitlines()
    commits = [c for c in map(json.loads, lines) if result["from_s"] <= c["at_s"] <= result["to_s"]]
    row: Row = {"commits": len(commits)}
    for step in (*STEPS, "whole commit"):
        values = [sum(c[s] for s in STEPS) if step == "whole commit" else c[step] for c in commits]
        cuts = statistics.quantiles(values, n=100) if len(values) > 1 else [0.0] * 99
        row[step] = f"{cuts[49]:.2f} / {cuts[98]:.2f}"
    row["decision p50"] = result.get("p50")
    return row


def with_ratios(rows: Sequence[Row]) -> list[Row]:
    """Adds p50 and p99 over Kafka Streams' best at the same rate, where both were measured."""
    made = []
    for row in rows:
        peers = [r for r in rows if r["rate /s"] == row["rate /s"] and r["processor"].startswith(programs.STREAMS)]
        ratios = {}
        for name in ("p50", "p99"):
            best = min((r[name] for r in peers if r[name] is not None), default=None)
            ratios[f"{name} ÷ best"] = round(row[name] / best, 2) if best and row[name] is not None else ""
        made.append({**row, **ratios})
    return made


async def run(options: argparse.Namespace) -> None:
    before = conditions()
    with Runner.temporary() as runner:
        async with parts("kafka") as where:
            bench = Bench(runner, where.kafka_bootstrap, options)
            await bench.run()
    show("latency: ms, intended send time to committed receipt", with_ratios(bench.rows), conditions=before)
    show("latency: ms of a commit by step, p50 / p99", bench.steps)


def numbers(text: str) -> list[int]:
    """A list of positive numbers, separated by commas."""
    found = [int(part) for part in text.split(",")]
    if min(found) < 1:
        raise ValueError
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="bench latency", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="measured at each rate (default %(default)s)")
    parser.add_argument("--rates", type=numbers, default="500,2000,10000", help="per second (default %(default)s)")
    parser.add_argument(
        "--intervals", type=numbers, default="100,10,5,1", help="Kafka Streams' commits in ms (default %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="barely warmed up: shows that it works, no figures")
    options = parser.parse_args()
    try:
        asyncio.run(run(options))
    except (PartsError, BenchError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
