"""Gate and lifecycle hear the same verdict on every execution report, whatever is reported and however it arrives."""

from collections.abc import Iterator, Sequence

import pytest
from common.contracts.cancels import OrderCancel
from common.contracts.events import BreakAction, ExecutionReport, OrderIntent
from common.contracts.topics import ORDERS_CANCELS, ORDERS_EXECUTIONS, ORDERS_INTENTS, RISK_BREAKS, RISK_COMMANDS
from common.contracts.values import Side
from common.testing.orders import ACCOUNT, NOW_NS, withdraw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from orders import stages as lifecycle

from tests.integration.judged_world import BUY, SELL, World, alphabet, funded, resolve


def _walk(world: World, of: OrderIntent, words: Sequence[ExecutionReport], depth: int) -> Iterator[World]:
    """Every sequence of so many words; each is said once more to what came of it, and must then move nothing."""
    for word in words:
        after = world.copied()
        after.tell_gate(ORDERS_EXECUTIONS, word)
        after.arrive_all()
        yield after
        if depth > 1:
            yield from _walk(after, of, words, depth - 1)


@pytest.mark.parametrize("of", [BUY, SELL], ids=["buy", "sell"])
def test_every_sequence_of_three_reports_then_both_judge_alike_and_money_is_conserved(of: OrderIntent) -> None:
    worlds = 0
    for world in _walk(funded(of), of, list(alphabet(of).values()), 3):
        world.check_money()
        world.check_agreement(of)
        worlds += 1
    assert worlds == 15 + 15**2 + 15**3


@pytest.mark.slow
@pytest.mark.parametrize("of", [BUY, SELL], ids=["buy", "sell"])
def test_every_sequence_of_four_reports_then_both_judge_alike(of: OrderIntent) -> None:
    for world in _walk(funded(of), of, list(alphabet(of).values()), 4):
        world.check_money()
        world.check_agreement(of)


def test_each_word_of_the_alphabet_said_again_then_nothing_moves() -> None:
    for name, word in alphabet(BUY).items():
        world = funded(BUY)
        world.tell_gate(ORDERS_EXECUTIONS, word)
        before, breaks = world.gate.rows(), len(world.written[RISK_BREAKS.name])
        again = word.model_copy(update={"venue_ns": NOW_NS + 1, "text": "possible resend"})
        assert world.tell_gate(ORDERS_EXECUTIONS, again) == [], name
        assert world.gate.rows() == before, name
        assert len(world.written[RISK_BREAKS.name]) == breaks


WORDS = [*alphabet(BUY)]
STEPS = st.lists(
    st.one_of(
        st.sampled_from(WORDS),
        st.sampled_from(WORDS),
        st.sampled_from(["intent", "cancel", "book", "refuse", "withdraw"]),
        st.integers(0, len(lifecycle.INPUTS) - 1),
    ),
    min_size=1,
    max_size=14,
)
"""A word, something that happens beside the venue, or the next record of one of the lifecycle's topics."""


@settings(max_examples=1_500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, early=st.booleans(), side=st.sampled_from(Side), tail=st.permutations(range(len(lifecycle.INPUTS))))
def test_any_history_and_any_order_of_arrival_then_both_agree_in_the_end(
    steps: list[str | int], early: bool, side: Side, tail: list[int]
) -> None:
    of = BUY if side is Side.BUY else SELL
    words = alphabet(of)
    world = funded(None)
    if not early:
        world.tell_gate(ORDERS_INTENTS, of)
    names = [topic.name for topic in lifecycle.INPUTS]
    for number, step in enumerate(steps):
        if isinstance(step, int):
            if names[step] in world.unread():
                world.arrive(names[step])
        elif step in words:
            world.tell_gate(ORDERS_EXECUTIONS, words[step])
        else:
            _beside(world, of, step, number)
        world.check_money()
    for place in tail:
        while names[place] in world.unread():
            world.arrive(names[place])
    world.arrive_all()
    world.check_money()
    world.check_agreement(of)
    revisions = [event.revision for event in world.events if event.order_id.endswith(".o")]
    assert revisions == list(range(1, len(revisions) + 1))


def _beside(world: World, of: OrderIntent, step: str, number: int) -> None:
    if step == "intent":
        world.tell_gate(ORDERS_INTENTS, of)
    elif step == "cancel":
        cancel = OrderCancel(account_id=ACCOUNT, order_id=f"{ACCOUNT}.o", sent_ns=NOW_NS)
        world.written[ORDERS_CANCELS.name].append(cancel)
    elif step == "withdraw":
        rest_e4 = world.ledger.available("@CASH")
        if rest_e4:
            world.tell_gate(RISK_COMMANDS, withdraw(command_id=f"w{number}", cash_e4=rest_e4))
    else:
        resolve(world, BreakAction.BOOK if step == "book" else BreakAction.BREAK, number)
