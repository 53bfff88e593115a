"""Orders under limits that people have set: in a batch as one by one, whatever is in force of whom and since when."""

from collections.abc import Sequence
from typing import Any

import pytest
from common.contracts.controls import FIRM, ControlResult, Controls, LimitSet, Override, StateSet, TradingState
from common.contracts.events import OrderIntent
from common.contracts.topics import RISK_CONTROLS
from common.contracts.values import E4
from common.testing.orders import NOW_NS
from hypothesis import given, settings
from hypothesis import strategies as st
from risk import stages
from risk.domain.gate import Limits
from streams.model.message import Message
from streams.testing.tables import message

from tests.risk.test_activity import few
from tests.risk.test_runs import LIMITS, PARTITION, intents_of, plain, same_both_ways, value_of

SECOND_NS = 1_000_000_000
WHO: dict[str, Any] = {"proposed_by": "ann", "approved_by": "bob", "note": "why"}
symbols = st.sampled_from((None, None, "ACME", "LOTS"))
times = st.sampled_from((0, NOW_NS, NOW_NS + 1, NOW_NS + SECOND_NS, NOW_NS + 2 * SECOND_NS))
values = st.fixed_dictionaries(
    {},
    optional={
        "order_qty_max": st.sampled_from((1, 2, 50, 10**6)),
        "order_notional_max_e4": st.sampled_from((100 * E4, 10**14)),
        "market_collar_bps": st.sampled_from((0, 500)),
        "limit_collar_bps": st.sampled_from((0, 1_000)),
        "position_qty_max": st.sampled_from((0, 1_010, 1_100)),
        "position_notional_max_e4": st.sampled_from((0, 101_000 * E4)),
        "window_orders_max": st.sampled_from((0, 1, 3)),
        "throttle_intents_max": st.sampled_from((0, 2)),
        "open_orders_max": st.sampled_from((0, 2)),
        "daily_loss_max_e4": st.sampled_from((0, 1, 10**14)),
        "drawdown_max_e4": st.sampled_from((0, 1, 10**14)),
        "price_band_bps": st.sampled_from((0, 100)),
        "self_cross_denied": st.sampled_from((0, 1)),
        "self_match_mode": st.sampled_from((1, 2, 3)),
        "restricted": st.sampled_from((0, 0, 1)),
    },
)
limit_sets = st.lists(
    st.builds(
        lambda symbol, said, version, at: LimitSet(symbol=symbol, values=said, version=version, effective_ns=at, **WHO),
        symbols,
        values,
        st.integers(1, 9),
        times,
    ),
    max_size=4,
).map(tuple)
overrides = st.lists(
    st.builds(
        lambda number, said, at: Override(client_order_id=f"o{number}", values=said, version=1, expires_ns=at, **WHO),
        st.integers(0, 20),
        values,
        times,
    ),
    max_size=4,
    unique_by=lambda each: each.client_order_id,
).map(tuple)
states = st.lists(
    st.builds(
        lambda symbol, state: StateSet(symbol=symbol, state=state, by="cat", note="why", since_ns=0),
        symbols,
        st.sampled_from((TradingState.REDUCING, TradingState.HALTED)),
    ),
    max_size=1,
).map(tuple)
said_of = st.one_of(st.none(), st.tuples(limit_sets, overrides, states))


def controls_of(said: Sequence[Any]) -> list[Message]:
    """Messages that tell partitions of the firm and of two accounts."""
    messages = []
    for account_id, parts in zip((FIRM, "rich", "poor"), said, strict=True):
        if parts is None:
            continue
        limits, of_orders, halted = parts
        controls = Controls(account_id=account_id, seq=1, limits=limits, overrides=of_orders, states=halted)
        result = ControlResult(
            account_id=account_id,
            command_id="c",
            accepted=True,
            controls=controls,
            decided_ns=0,
            command_partition=0,
            command_offset=0,
        )
        messages.append(message(RISK_CONTROLS, account_id.encode(), result, partition=PARTITION))
    return messages


@pytest.fixture(autouse=True)
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "RUN_MIN", 2)


@settings(deadline=None, max_examples=150)
@given(
    said=st.tuples(said_of, said_of, said_of),
    some=st.lists(st.lists(few | few | plain, max_size=20), min_size=1, max_size=3),
    counted=st.sampled_from((LIMITS, Limits(window_orders_max=5, open_orders_max=3))),
)
def test_run_under_limits_that_people_set_then_answered_as_one_by_one(
    said: Sequence[Any], some: list[list[OrderIntent]], counted: Limits
) -> None:
    runs = [intents_of(map(value_of, orders), 100 * number + 101) for number, orders in enumerate(some)]
    same_both_ways(controls_of(said), *runs, limits=counted, every_ns=SECOND_NS, says_basis=True)
