"""Cost of one more check: the compiled gate, and the whole handler, with dummy checks behind the gate's own.

    make bench ARGS="checks [--extra 20] [--intents N] [--batch N] [--rounds N]"

No broker: the handler over tables in memory, in batches, as ``gate_domain`` has it one by one. The gates take turns,
and of each the best batch counts, which neighbours on the machine disturb least. A figure of the compiled gate is what
deciding, reserving and writing the answers takes.
"""

import argparse
import gc
import time
from collections import deque
from types import FunctionType
from typing import Final

from common.checks.case import Case
from common.checks.check import Check, CheckChain, check
from common.checks.gate import CHECKS
from common.contracts.topics import ORDERS_INTENTS, RISK_COMMANDS
from risk.domain.gate import Limits
from risk.domain.gate_kernel import Decided, Decider, Inputs
from risk.stages import Gate
from risk.tables import DAY_NS
from streams.model.message import Message

from bench.gate_domain import NOW_NS, commands, intents, open_tables, settle
from bench.harness import conditions, show

HELD_SYMBOLS: Final = 3


class TimedDecider(Decider):
    """Keeps what its batches took."""

    def __init__(self, chain: CheckChain) -> None:
        super().__init__(chain)
        self.took_s: list[float] = []

    def decide_all(self, inputs: Inputs) -> Decided:
        began_s = time.process_time()
        decided = super().decide_all(inputs)
        self.took_s.append(time.process_time() - began_s)
        return decided


def dummies(count: int) -> tuple[Check, ...]:
    """Checks that every order passes, each with a number of its own."""
    return tuple(_dummy(number) for number in range(count))


def _dummy(number: int) -> Check:
    unwanted = 10**9 + number

    def qty_is_another(case: Case) -> bool:
        return case.order.qty != unwanted

    named = FunctionType(
        qty_is_another.__code__, qty_is_another.__globals__, f"dummy_{number}", None, qty_is_another.__closure__
    )
    return check("QTY_UNWANTED", "it is a number of this bench", qty=lambda case: case.order.qty)(named)


def batches_s(chain: CheckChain, options: argparse.Namespace) -> tuple[list[float], list[float]]:
    """CPU seconds of each batch, in the compiled gate and in the handler. The first compiles, and does not count."""
    tables, store = open_tables()
    gate = Gate(Limits(), 7 * DAY_NS, chain)
    gate._decider = decider = TimedDecider(chain)
    for offset, value in enumerate(commands(options.accounts, HELD_SYMBOLS)):
        key = RISK_COMMANDS.schema.decode(value).account_id.encode()
        gate.handle(Message(RISK_COMMANDS, 0, offset, key, value, 0), tables, NOW_NS)
    settle(tables, store)
    records = intents(options.intents, options.accounts, HELD_SYMBOLS)
    handled_s = []
    gc.collect()
    for at in range(0, options.intents, options.batch):
        batch = [
            Message(ORDERS_INTENTS, 0, offset, key, value, 0)
            for offset, (key, value) in enumerate(records[at : at + options.batch], at)
        ]
        began_s = time.process_time()
        deque(gate.handle_batch(batch, tables, NOW_NS), maxlen=0)
        handled_s.append(time.process_time() - began_s)
        settle(tables, store)
    return decider.took_s[1:], handled_s[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--extra", type=int, default=20)
    parser.add_argument("--intents", type=int, default=200_000)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    chains = [CheckChain(CHECKS), CheckChain((*CHECKS, *dummies(options.extra)))]
    best: dict[int, tuple[float, float]] = {}
    for _ in range(options.rounds):
        for chain in chains:
            compiled_s, handled_s = (min(each) for each in batches_s(chain, options))
            known = best.get(chain.passed, (compiled_s, handled_s))
            best[chain.passed] = min(known[0], compiled_s), min(known[1], handled_s)
    base = best[len(CHECKS)]
    rows = [
        {
            "checks": checks,
            "compiled gate, ns an intent": round(compiled_s / options.batch * 1e9, 1),
            "of the gate's own": round(compiled_s / base[0], 3),
            "handler, us an intent": round(handled_s / options.batch * 1e6, 3),
        }
        for checks, (compiled_s, handled_s) in best.items()
    ]
    show("checks", rows, conditions=conditions())


if __name__ == "__main__":
    main()
