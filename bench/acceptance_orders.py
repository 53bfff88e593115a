"""The money test: orders through HTTP and through the topic, then the audit; and again while every service is killed.

    python -m bench acceptance_orders [--http 20000] [--topic 200000] [--accounts 100] [--kills]

Exits with 1 where the audit finds a difference or an order stays without an answer.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from tidemark.audit.run import Audit, Report
from tidemark.commands.audit import show as show_audit
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import synthetic_feed
from tidemark.load.clients import PersistentGateway, open_accounts
from tidemark.load.driver import Load, Tally
from tidemark.load.http import HttpGateway
from tidemark.load.plan import account_names, actions, holdings
from tidemark.load.topic import intents, send_intents
from tidemark.options import reader_settings
from tidemark.quotes import QuoteBoard
from tidemark.services import SERVICES
from tidemark.state import StateDir

from bench.harness import conditions, show

SYMBOLS_TRADED = 20
PERSIST_S = 120.0
BETWEEN_KILLS_S = 3.0
AUDIT_TIMEOUT_S = 300.0
err = Console(stderr=True)


async def kill_in_turn(deployment: Deployment) -> list[str]:
    """SIGKILL to each service, one after the other, each time once all are ready again."""
    killed = []
    for name in SERVICES:
        await asyncio.sleep(BETWEEN_KILLS_S)
        await deployment.fleet.wait_ready(timeout_s=180)
        err.print(f"SIGKILL {name} (pid {deployment.fleet.pid(name)})")
        deployment.fleet.kill(name)
        killed.append(name)
    await asyncio.sleep(BETWEEN_KILLS_S)
    await deployment.fleet.wait_ready(timeout_s=180)
    return killed


async def load(
    deployment: Deployment, quotes: QuoteBoard, held: dict[str, tuple[str, ...]], options: argparse.Namespace, tag: str
) -> tuple[Tally, int]:
    """Both loads at the same time. Returns what came of the HTTP one, and how many intents went into the topic."""
    settings = reader_settings(deployment.addresses)
    async with HttpGateway(deployment.url("orders")) as http:
        over_http = Load(PersistentGateway(http, PERSIST_S), quotes, id_prefix=f"{tag}-http")
        seconds = options.http / options.http_rate
        straight = intents(actions(options.seed + 1, held, 1_000.0), quotes, f"{tag}-topic")
        sending = send_intents(settings, straight, options.topic, options.topic / seconds)
        tally, sent = await asyncio.gather(
            over_http.run(actions(options.seed, held, options.http_rate), seconds), sending
        )
    return tally, sent


async def round_of(
    name: str,
    deployment: Deployment,
    quotes: QuoteBoard,
    held: dict[str, tuple[str, ...]],
    options: argparse.Namespace,
) -> tuple[dict[str, Any], Report]:
    """One load with its audit."""
    began = time.monotonic()
    loading = asyncio.create_task(load(deployment, quotes, held, options, name))
    killed = await kill_in_turn(deployment) if name == "kills" else []
    tally, sent = await loading
    loaded_s = time.monotonic() - began
    audit = await Audit(reader_settings(deployment.addresses), deployment.addresses).run(AUDIT_TIMEOUT_S)
    show_audit(audit)
    row = {
        "round": name,
        "killed": " ".join(killed),
        "http_answered": tally.accepted + tally.denied,
        "http_unanswered": sum(tally.errors.values()) + tally.overflow,
        "topic_sent": sent,
        "load_s": round(loaded_s, 1),
        "audit_s": round(time.monotonic() - began - loaded_s, 1),
        "accepted": audit.orders_accepted,
        "denied": audit.orders_denied,
        "fills": audit.fills,
        "ledger_sum_e4": audit.ledger_sum_e4,
        "violations": audit.violations + len(tally.unexpected),
    }
    return row, audit


async def accept(options: argparse.Namespace) -> int:
    before = conditions()
    feed = synthetic_feed(options.seed, 2_000.0, 100)
    rows = []
    with tempfile.TemporaryDirectory(prefix="tidemark-acceptance-") as directory:
        state = StateDir(options.state_dir or Path(directory))
        deploying = DeploymentOptions(any_free_ports=True, feed=feed, keep=False, fresh=True)
        async with (
            Deployment(state, deploying, err.print) as deployment,
            QuoteBoard(deployment.addresses.redis_url) as quotes,
        ):
            symbols = await quotes.wait_for_market(SYMBOLS_TRADED, 120)
            await quotes.watch(symbols)
            held = holdings(account_names(options.accounts, "acceptance"), symbols)
            async with HttpGateway(deployment.url("orders")) as gateway:
                await open_accounts(gateway, held)
            for name in ("calm", "kills") if options.kills else ("calm",):
                row, _ = await round_of(name, deployment, quotes, held, options)
                rows.append(row)
    show("acceptance_orders", rows, conditions=before)
    return sum(row["violations"] + row["http_unanswered"] for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--http", type=int, default=20_000, help="orders through HTTP (default %(default)s)")
    parser.add_argument("--http-rate", type=float, default=200.0, help="per second (default %(default)s)")
    parser.add_argument("--topic", type=int, default=200_000, help="intents into the topic (default %(default)s)")
    parser.add_argument("--accounts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", action="store_true", help="a second round in which every service is killed")
    parser.add_argument("--state-dir", type=Path, help="keep logs and stores here")
    sys.exit(1 if asyncio.run(accept(parser.parse_args())) else 0)


if __name__ == "__main__":
    main()
