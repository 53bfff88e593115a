"""The money test: orders through HTTP and through the topic, then the audit; and again while every service is killed.

    python -m bench acceptance_orders [--http 20000] [--topic 200000] [--accounts 100] [--kills]

Exits with 1 where the audit finds a difference or an order stays without an answer.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from tidemark.commands.audit import show as show_audit
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import synthetic_feed
from tidemark.load.trial import Crowd, TrialOptions
from tidemark.quotes import QuoteBoard
from tidemark.services import SERVICES
from tidemark.state import StateDir

from bench.harness import conditions, show

MARKET_RATE = 2_000.0
MARKET_SYMBOLS = 100
err = Console(stderr=True)


async def accept(options: argparse.Namespace) -> int:
    """Runs the trials; returns how much is wrong."""
    before = conditions()
    feed = synthetic_feed(options.seed, MARKET_RATE, MARKET_SYMBOLS)
    trials = {"calm": (), "kills": SERVICES} if options.kills else {"calm": ()}
    rows, wrong = [], 0
    with tempfile.TemporaryDirectory(prefix="tidemark-acceptance-") as directory:
        state = StateDir(options.state_dir or Path(directory))
        deploying = DeploymentOptions(any_free_ports=True, feed=feed, keep=False, fresh=True)
        async with (
            Deployment(state, deploying, err.print) as deployment,
            QuoteBoard(deployment.addresses.redis_url) as quotes,
        ):
            crowd = Crowd(deployment, quotes, err.print)
            await crowd.open(options.accounts)
            for name, kills in trials.items():
                outcome = await crowd.trial(
                    TrialOptions(name, options.http, options.http_rate, options.topic, kills, seed=options.seed)
                )
                show_audit(outcome.audit)
                rows.append(outcome.as_row(name))
                wrong += outcome.violations + outcome.unanswered
    show("acceptance_orders", rows, conditions=before)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--http", type=int, default=20_000, help="orders through HTTP (default %(default)s)")
    parser.add_argument("--http-rate", type=float, default=200.0, help="per second (default %(default)s)")
    parser.add_argument("--topic", type=int, default=200_000, help="intents into the topic (default %(default)s)")
    parser.add_argument("--accounts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", action="store_true", help="a second trial in which every service is killed")
    parser.add_argument("--state-dir", type=Path, help="keep logs and stores here")
    sys.exit(1 if asyncio.run(accept(parser.parse_args())) else 0)


if __name__ == "__main__":
    main()
