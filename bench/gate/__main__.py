"""The same bare work on Tidemark and on its peers: decide, reserve, changelog; intents per CPU-second of the process.

    python -m bench gate [--intents 2000000] [--peers ks,flink,quix,faust] [--quick]

One broker, one topic of intents, filled once; the processors run one after the other on output topics of their own, the
risk service on a broker of its own for each format of the log. A peer's figure ends with its last record handled,
Tidemark's with the commit of the last one. Steady is the second half: the JVMs warm up in the first.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from parts import PartsError
from rich.console import Console

from bench.gate.risk_stage import measure_risk
from bench.harness import conditions, show
from bench.peers import programs
from bench.peers.programs import Program, Work
from bench.peers.runner import BenchError, Runner, make_topics, parts

INTENTS: Final = "bench.intents"
PEERS: Final = ("ks", "flink", "quix", "faust")
SHARE: Final = {"quix": 0.25, "faust": 0.02}
"""Share of the intents that a slow peer is given: neither has anything to warm up."""
QUICK: Final = 40_000
err = Console(stderr=True)


def program_of(name: str, work: Work) -> Program:
    """The command for one processor."""
    makers: dict[str, Callable[[Work], Program]] = {
        "ks": programs.streams,
        "flink": programs.flink,
        "quix": programs.quix,
        "faust": programs.faust,
        "tidemark": programs.tidemark,
        "tidemark-process": lambda work: programs.tidemark(work, producers="process"),
    }
    return makers[name](work)


def row_of(label: str, result: dict[str, Any]) -> dict[str, Any]:
    """One line of the table."""
    whole, steady = result["all"], result["steady"]
    return {
        "processor": label,
        "intents": result["messages"],
        "all /s": whole["per_s"],
        "all /CPU-s": whole["per_cpu_s"],
        "steady /s": steady["per_s"],
        "steady /CPU-s": steady["per_cpu_s"],
    }


def with_ratios(rows: list[dict[str, Any]], peers: set[str]) -> list[dict[str, Any]]:
    """Adds each row's steady figure over the best peer's, where there is a peer."""
    best = max((row["steady /CPU-s"] for row in rows if row["processor"] in peers), default=0)
    return [{**row, "× best peer": round(row["steady /CPU-s"] / best, 2) if best else ""} for row in rows]


async def run_bare(runner: Runner, options: argparse.Namespace, rows: list[dict[str, Any]], peers: set[str]) -> None:
    """The bare work, on one broker and one filled topic."""
    async with parts("kafka") as where:
        bootstrap = where.kafka_bootstrap
        await make_topics(bootstrap, INTENTS)
        err.print(f"filling {options.intents:,} intents")
        await runner.client(bootstrap, "fill", {"intents": INTENTS, "count": options.intents})
        for name in (*options.peers, "tidemark", "tidemark-process"):
            messages = max(1, int(options.intents * SHARE.get(name, 1)))
            work = Work(bootstrap, INTENTS, f"bench.{name}", runner.new_directory(name), messages)
            program = program_of(name, work)
            await make_topics(bootstrap, work=work)
            err.print(f"{program.label}: {messages:,} intents")
            rows.append(row_of(program.label, await runner.result(program)))
            if name in PEERS:
                peers.add(program.label)


async def run(options: argparse.Namespace) -> None:
    before = conditions()
    rows: list[dict[str, Any]] = []
    sizes: list[dict[str, Any]] = []
    peers: set[str] = set()
    with Runner.temporary() as runner:
        if not options.only_risk:
            await run_bare(runner, options, rows, peers)
        for log_format in () if options.no_risk else options.log_formats:
            async with parts("kafka", "redis") as where:
                err.print(f"the real risk stage, {log_format}")
                intents = options.risk_intents
                result = await measure_risk(runner, where, intents, log_format=log_format, profile=options.profile)
                if options.profile:
                    show(f"the risk service by step, {log_format}", result["steps"], conditions=before)
                    continue
                label = f"Tidemark's risk service, {log_format}: every check, ledger, telemetry"
                rows.append(row_of(label, result))
                sizes.append({"log format": log_format, **result["bytes"]})
    if options.profile:
        return
    show("gate", with_ratios(rows, peers), conditions=before)
    if sizes:
        show("bytes of a value", sizes)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="bench gate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--intents", type=int, default=2_000_000, help="(default %(default)s)")
    parser.add_argument("--risk-intents", type=int, help="for the risk service (default: as many)")
    parser.add_argument("--peers", default=",".join(PEERS), help="of %(default)s; empty for none")
    parser.add_argument("--no-risk", action="store_true", help="leave the risk service out")
    parser.add_argument("--only-risk", action="store_true", help="the risk service and nothing else")
    parser.add_argument(
        "--log-formats",
        default="json",
        help="in which the risk service is fed and writes, one after the other: json,avro",
    )
    parser.add_argument(
        "--profile", type=Path, metavar="FILE", help="with --only-risk: CPU time by step; py-spy's stacks go to FILE"
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:,} intents: shows that it works, no figures")
    options = parser.parse_args()
    options.peers = tuple(name for name in options.peers.split(",") if name)
    if unknown := set(options.peers) - set(PEERS):
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    options.log_formats = tuple(options.log_formats.split(","))
    if set(options.log_formats) - {"json", "avro"}:
        parser.error("--log-formats takes json and avro")
    if options.profile and (not options.only_risk or options.no_risk):
        parser.error("--profile needs --only-risk")
    if options.intents < 100:
        parser.error("--intents must be 100 at least")
    options.intents = QUICK if options.quick else options.intents
    options.risk_intents = options.risk_intents or options.intents
    try:
        asyncio.run(run(options))
    except (PartsError, BenchError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
