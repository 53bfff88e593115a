"""Worth of committed decisions: held against what one processor that never fails would have decided."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bench.peers.gate_meter import CASH_E4


class Intent(NamedTuple):
    """An intent as it stands in the log. ``account`` decides its partition, so an account's intents are in order."""

    intent_id: int
    account: str
    need_e4: int


class Decision(NamedTuple):
    """A committed decision. ``reserved_e4``: of the account, after it."""

    intent_id: int
    account: str
    accepted: bool
    seq: int
    reserved_e4: int


class Verdict(NamedTuple):
    """Nothing but ``intents`` should be above zero."""

    intents: int
    lost: int
    """Intents without a decision."""
    duplicated: int
    """Intents with more decisions than one."""
    wrong: int
    """Intents whose first decision is not the one that the reference has."""
    money_off_e4: int
    """Over all accounts: what the last decision says is reserved, against the reference."""


def reference(intents: Iterable[Intent]) -> dict[int, Decision]:
    """Intent → decision, one after the other in the order of the log."""
    rows: dict[str, tuple[int, int]] = {}
    decisions = {}
    for intent in intents:
        reserved, seq = rows.get(intent.account, (0, 0))
        accepted = CASH_E4 - reserved >= intent.need_e4
        if accepted:
            reserved += intent.need_e4
        rows[intent.account] = (reserved, seq + 1)
        decisions[intent.intent_id] = Decision(intent.intent_id, intent.account, accepted, seq + 1, reserved)
    return decisions


def judge(intents: Sequence[Intent], decisions: Sequence[Decision]) -> Verdict:
    """Decisions are those that a read_committed reader sees, an account's in the order of the log."""
    expected = reference(intents)
    times = Counter(decision.intent_id for decision in decisions)
    first: dict[int, Decision] = {}
    last_of: dict[str, int] = {}
    for decision in decisions:
        first.setdefault(decision.intent_id, decision)
        last_of[decision.account] = decision.reserved_e4
    should: dict[str, int] = {}
    for decision in expected.values():
        should[decision.account] = decision.reserved_e4
    accounts = should.keys() | last_of.keys()
    return Verdict(
        intents=len(expected),
        lost=sum(1 for number in expected if number not in times),
        duplicated=sum(1 for seen in times.values() if seen > 1),
        wrong=sum(1 for number, decision in first.items() if expected.get(number) != decision),
        money_off_e4=sum(abs(last_of.get(account, 0) - should.get(account, 0)) for account in accounts),
    )
