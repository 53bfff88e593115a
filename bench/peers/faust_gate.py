"""The bare gate on stock faust-streaming, ``exactly_once``. Runs in an environment of its own, see ``programs.py``."""

import argparse
import sys
from pathlib import Path
from typing import Any

import faust
from gate_meter import CASH_E4, GateMeter


def options_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("bootstrap", "group", "intents", "decisions", "state"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--instance", default="", help="static membership: the worker's name in its group")
    parser.add_argument("--messages", type=int, default=0)
    parser.add_argument("--commit-s", type=float, default=0.1)
    parser.add_argument("--timeout-s", type=float, default=300.0)
    return parser.parse_args(arguments)


def build(options: argparse.Namespace, meter: GateMeter) -> faust.App:
    app = faust.App(
        options.group,
        broker=f"kafka://{options.bootstrap}",
        store="rocksdb://",
        processing_guarantee="exactly_once",
        broker_commit_interval=options.commit_s,
        topic_partitions=4,
        topic_replication_factor=1,
        topic_disable_leader=True,
        datadir=str(Path(options.state) / "faust"),
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
        **({"consumer_group_instance_id": options.instance} if options.instance else {}),
    )
    intents = app.topic(options.intents, key_type=bytes, key_serializer="raw", value_serializer="json")
    decisions = app.topic(options.decisions, key_type=bytes, key_serializer="raw", value_serializer="json")
    accounts = app.Table("accounts", partitions=4)

    @app.agent(intents)  # type: ignore[untyped-decorator]
    async def gate(stream: Any) -> None:
        async for intent in stream:
            account = intent["account"]
            cash, reserved, seq = accounts.get(account) or (CASH_E4, 0, 0)
            need = intent["qty"] * intent["price_e4"]
            accepted = cash - reserved >= need
            if accepted:
                reserved += need
            seq += 1
            accounts[account] = (cash, reserved, seq)
            decision = {
                "intent_id": intent["intent_id"], "account": account, "accepted": accepted, "seq": seq,
                "reserved": reserved,
            }  # fmt: skip
            await decisions.send(key=account.encode(), value=decision)
            if options.messages:
                meter.hit()

    return app


def main() -> None:
    options = options_of(sys.argv[1:])
    sys.argv = ["faust", "worker", "-l", "warn", "--without-web"]
    build(options, GateMeter(options.messages, options.timeout_s)).main()


if __name__ == "__main__":
    main()
