"""``python -m common.testing.simulation``: many histories, one seed, or the table of seeded faults."""

import argparse
import contextlib
import logging
import sys
import time
from collections.abc import Sequence

import structlog

from common.testing.simulation.faults import FAULTS, MODES_OF
from common.testing.simulation.history import MODES, Outcome, shortest, simulate


def tell(outcome: Outcome, command: str) -> None:
    """Prints a failing history and how to see it again."""
    out = sys.stdout.write
    out(f"seed {outcome.plan.seed}, {outcome.plan.workers} worker(s):\n")
    for event in outcome.plan.events:
        out(f"  {event}\n")
    for wrong in outcome.wrong[:5]:
        out(f"  WRONG {wrong}\n")
    out(f"again: {command}\n")


def run_seeds(seeds: Sequence[int], mode: str, fault: str | None) -> int:
    """Exit status 1 where a promise was broken; the failing history is shortened and printed."""
    began, handled = time.monotonic(), 0
    for seed in seeds:
        with FAULTS[fault]() if fault else contextlib.nullcontext():
            outcome = simulate(seed, mode)
            handled += outcome.handled
            if outcome.wrong:
                option = f" --fault {fault}" if fault else ""
                again = f"python -m common.testing.simulation --producers {mode} --seed {seed}{option}"
                tell(shortest(seed, mode), again)
                return 1
    seconds = time.monotonic() - began
    sys.stdout.write(f"{len(seeds)} histories, {handled} messages answered, every promise kept, {seconds:.1f} s\n")
    return 0


def table(seeds: Sequence[int], only: str | None = None) -> int:
    """Prints which seed finds each fault first, and by which rule; exit status 1 where one is not found."""
    missed = 0
    sys.stdout.write("| fault | what is wrong | producers per | found after seeds | by |\n|---|---|---|---|---|\n")
    for name, fault in FAULTS.items() if only is None else [(only, FAULTS[only])]:
        for mode in MODES_OF[name]:
            found = None
            with fault():
                for tried, seed in enumerate(seeds, 1):
                    outcome = simulate(seed, mode)
                    if outcome.wrong:
                        found = (tried, outcome.wrong[0].rule)
                        break
            missed += found is None
            after, rule = found or (f"not in {len(seeds)}", "-")
            what = (fault.__doc__ or "").strip()
            sys.stdout.write(f"| `{name}` | {what} | {mode} | {after} | {rule} |\n")
            sys.stdout.flush()
    return 1 if missed else 0


def quiet() -> None:
    """Silences the runtime's log lines in a history; killed tasks leave errors that nobody fetches."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1 where a promise was broken, or a fault was not found."""
    parser = argparse.ArgumentParser(prog="python -m common.testing.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many histories (default %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default %(default)s)")
    parser.add_argument("--seed", type=int, help="one history only, shortened if it fails")
    parser.add_argument("--producers", choices=MODES, default="task", help="whose they are (default %(default)s)")
    parser.add_argument("--fault", choices=sorted(FAULTS), help="make the runtime wrong in this place")
    parser.add_argument(
        "--table", action="store_true", help="look for every fault, or the one named, and print the table"
    )
    options = parser.parse_args(arguments)
    quiet()
    seeds = range(options.first, options.first + options.seeds) if options.seed is None else [options.seed]
    return table(seeds, options.fault) if options.table else run_seeds(seeds, options.producers, options.fault)


if __name__ == "__main__":
    sys.exit(main())
