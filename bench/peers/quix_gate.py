"""The bare gate on quix-streams, exactly once. Runs in an environment of its own, see ``programs.py``."""

import argparse
from typing import Any

from gate_meter import CASH_E4, GateMeter
from quixstreams import Application, State


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("bootstrap", "group", "intents", "decisions", "state"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--messages", type=int, default=0)
    parser.add_argument("--commit-s", type=float, default=1.0)
    parser.add_argument("--timeout-s", type=float, default=300.0)
    options = parser.parse_args()
    meter = GateMeter(options.messages, options.timeout_s)
    app = Application(
        options.bootstrap,
        consumer_group=options.group,
        auto_offset_reset="earliest",
        commit_interval=options.commit_s,
        processing_guarantee="exactly-once",
        state_dir=options.state,
        loglevel="WARNING",
    )
    intents = app.topic(options.intents, key_deserializer="str", value_deserializer="json")
    decisions = app.topic(options.decisions, key_serializer="str", value_serializer="json")

    def gate(intent: dict[str, Any], state: State) -> dict[str, Any]:
        cash, reserved, seq = state.get("account") or (CASH_E4, 0, 0)
        need = intent["qty"] * intent["price_e4"]
        accepted = cash - reserved >= need
        if accepted:
            reserved += need
        seq += 1
        state.set("account", (cash, reserved, seq))
        if options.messages:
            meter.hit()
        return {
            "intent_id": intent["intent_id"], "account": intent["account"], "accepted": accepted, "seq": seq,
            "reserved": reserved,
        }  # fmt: skip

    # State is kept per message key, which is the account.
    app.dataframe(intents).apply(gate, stateful=True).to_topic(decisions)
    app.run()


if __name__ == "__main__":
    main()
