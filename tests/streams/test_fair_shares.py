"""Fair shares: alone a party has nearly everything, beside others no more than its share, and nobody waits for ever."""

import asyncio
import contextlib
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streams.service.http.shares import AGAIN_MAX_S, FairShares, ShareLimits, Ticket, TooMuch

LIMITS = ShareLimits(
    total_max=100,
    client_running_max=50,
    account_running_max=40,
    running_share=4,
    busy_share=0.1,
    writes_share=20,
    waiting_share=10,
    burst_s=0.5,
    wait_s=2.0,
)


def runs(ticket: Ticket) -> bool:
    return ticket.turn.done() and ticket.turn.exception() is None


async def test_account_when_alone_then_all_but_the_reserve_runs_and_the_rest_waits() -> None:
    shares = FairShares(LIMITS)
    tickets = [shares.enter("a", "A", 0.0) for _ in range(60)]
    assert sum(map(runs, tickets)) == 40
    for ticket in tickets[:30]:
        shares.leave(ticket, 0.0, 0.1)
    assert all(map(runs, tickets))


async def test_account_when_another_one_has_everything_then_it_runs_at_once() -> None:
    shares = FairShares(LIMITS)
    for _ in range(60):
        shares.enter("a", "A", 0.0)
    assert [runs(shares.enter("a", "B", 0.1)) for _ in range(5)] == [True] * 4 + [False]


async def test_account_when_others_are_active_then_its_share_runs_and_the_others_never_wait() -> None:
    shares = FairShares(LIMITS)
    shares.leave(shares.enter("a", "B", 0.0), 0.0, 0.0)
    greedy = [shares.enter("a", "A", 0.1) for _ in range(30)]
    assert sum(map(runs, greedy)) == LIMITS.running_share
    assert runs(shares.enter("a", "B", 0.1))


async def test_accounts_when_all_want_the_same_then_none_of_them_is_held_back() -> None:
    """Equal load is not greed, however much it is."""
    shares = FairShares(LIMITS)
    tickets = [shares.enter("a", f"A{number % 4}", 0.0) for number in range(40)]
    assert all(map(runs, tickets))


async def test_others_when_they_have_gone_then_what_waits_runs() -> None:
    shares = FairShares(LIMITS)
    shares.leave(shares.enter("a", "B", 0.0), 0.0, 0.0)
    greedy = [shares.enter("a", "A", 0.1) for _ in range(9)]
    shares.settle(1.2)
    assert all(map(runs, greedy))


async def test_time_when_a_party_used_more_than_its_share_then_it_waits_until_that_is_forgotten() -> None:
    shares = FairShares(LIMITS)
    shares.leave(shares.enter("a", "A", 0.0), 0.3, 0.0)
    shares.leave(shares.enter("a", "B", 0.0), 0.001, 0.0)
    waits = shares.enter("a", "A", 0.1)
    assert not runs(waits)
    assert runs(shares.enter("a", "B", 0.1))
    shares.settle(1.0)
    assert not runs(waits), "0.3 s forgotten for one second are 0.11"
    shares.settle(1.1)
    assert runs(waits)


async def test_account_when_it_writes_more_than_its_share_beside_others_then_it_waits_and_its_reads_too() -> None:
    shares = FairShares(LIMITS)
    shares.leave(shares.enter("a", "B", 0.0, writes=True), 0.0, 0.0)
    for _ in range(3):
        shares.leave(shares.enter("a", "A", 0.0, writes=True), 0.0, 0.0)
    last = shares.enter("a", "A", 0.0, writes=True)
    assert runs(last)
    shares.leave(last, 0.0, 0.0)
    waits = [shares.enter("a", "A", 0.0, writes=True), shares.enter("a", "A", 0.0)]
    assert not any(map(runs, waits))
    assert runs(shares.enter("a", "B", 0.0, writes=True))
    shares.settle(0.1)
    assert all(map(runs, waits)), "of twenty a second four may come at once, and two of these are forgotten by now"


async def test_accounts_when_all_write_the_same_then_none_waits() -> None:
    shares = FairShares(LIMITS)
    for number in range(400):
        ticket = shares.enter("a", f"A{number % 4}", 0.0, writes=True)
        assert runs(ticket)
        shares.leave(ticket, 0.0, 0.0)


async def test_account_when_the_others_only_read_then_its_orders_have_no_rate() -> None:
    """Clients that read a page, or the service's health, are no reason to hold up orders."""
    shares = FairShares(LIMITS)
    for _ in range(100):
        reads = shares.enter("a", "B", 0.0)
        writes = shares.enter("a", "A", 0.0, writes=True)
        assert runs(reads)
        assert runs(writes)
        shares.leave(reads, 0.0, 0.0)
        shares.leave(writes, 0.0, 0.0)


async def test_account_when_it_is_turned_away_again_and_again_then_its_requests_come_one_after_the_other() -> None:
    """Refusals cost time, too: however many connections one has, they take turns at being refused."""
    shares = FairShares(LIMITS)
    shares.enter("a", "B", 0.0)
    shares.leave(shares.enter("a", "A", 0.0), 0.3, 0.0)
    for _ in range(30):
        shares.enter("a", "A", 0.0)
    again_s = []
    for _ in range(71):
        with pytest.raises(TooMuch) as refused:
            shares.enter("a", "A", 0.6)
        again_s.append(refused.value.again_s)
    assert again_s[0] == 1
    assert [round(b - a, 6) for a, b in pairwise(again_s)] == [0.1] * 70
    for _ in range(100):
        with pytest.raises(TooMuch) as refused:
            shares.enter("a", "A", 0.6)
    assert refused.value.again_s == AGAIN_MAX_S, "nobody is put off for longer"


async def test_queue_when_it_stays_long_beside_others_then_the_newest_is_turned_away_but_not_a_burst() -> None:
    shares = FairShares(LIMITS)
    shares.enter("a", "B", 0.0)
    shares.leave(shares.enter("a", "A", 0.0), 0.3, 0.0)
    burst = [shares.enter("a", "A", 0.0) for _ in range(30)]
    assert len(burst) == 30
    with pytest.raises(TooMuch) as refused:
        shares.enter("a", "A", 0.6)
    assert refused.value.is_greedy
    assert runs(shares.enter("a", "B", 0.6))


async def test_queue_when_it_is_long_for_a_slow_fleet_then_nobody_is_turned_away() -> None:
    """An account that has many requests open and uses little time has done nothing wrong."""
    shares = FairShares(LIMITS)
    shares.enter("a", "B", 0.0)
    shares.leave(shares.enter("a", "A", 0.0), 0.01, 0.0)
    assert len([shares.enter("a", "A", number / 50) for number in range(90)]) == 90


async def test_request_when_it_has_no_turn_in_time_then_it_is_turned_away() -> None:
    shares = FairShares(LIMITS)
    shares.enter("a", "B", 0.0)
    tickets = [shares.enter("a", "A", 0.0) for _ in range(6)]
    shares.settle(2.1)
    assert [isinstance(t.turn.exception(), TooMuch) for t in tickets] == [False] * 4 + [True] * 2
    for ticket in tickets:
        shares.leave(ticket, 0.0, 2.1)
    assert shares.total == 1


async def test_room_when_there_is_none_then_the_greediest_gives_way_and_only_equals_are_all_refused() -> None:
    shares = FairShares(LIMITS)
    greedy = [shares.enter("a", "A", 0.0) for _ in range(100)]
    other = shares.enter("b", "B", 0.0)
    assert runs(other)
    assert isinstance(greedy[-1].turn.exception(), TooMuch)
    with pytest.raises(TooMuch) as refused:
        shares.enter("a", "A", 0.0)
    assert refused.value.is_greedy


async def test_client_when_it_asks_for_many_accounts_then_its_own_share_bounds_it() -> None:
    shares = FairShares(LIMITS)
    shares.leave(shares.enter("b", "B", 0.0), 0.0, 0.0)
    tickets = [shares.enter("a", f"A{number}", 0.0) for number in range(20)]
    assert sum(map(runs, tickets)) == LIMITS.running_share
    assert runs(shares.enter("b", "B", 0.0))


STEPS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("ABC"), st.sampled_from(("enter", "leave", "settle", "cancel"))),
    max_size=150,
)


@given(STEPS)
def test_any_sequence_then_bounds_hold_and_everyone_gets_an_answer(steps: list[tuple[str, str, str]]) -> None:
    asyncio.run(_walk(steps))


async def _walk(steps: list[tuple[str, str, str]]) -> None:
    shares, now_s = FairShares(LIMITS), 0.0
    open_tickets: list[Ticket] = []
    for client, account, step in steps:
        now_s += 0.01
        if step == "enter":
            with contextlib.suppress(TooMuch):
                open_tickets.append(shares.enter(client, account, now_s, writes=account != "C"))
        elif step == "settle":
            now_s += 0.3
            shares.settle(now_s)
        elif open_tickets:
            ticket = open_tickets.pop(len(account) % len(open_tickets))
            if step == "cancel":
                ticket.turn.cancel()
            shares.leave(ticket, 0.02, now_s)
        running = Counter(ticket.account for ticket in open_tickets if runs(ticket))
        assert running.total() <= LIMITS.client_running_max
        assert shares.total == len(open_tickets) <= LIMITS.total_max
    while open_tickets:
        now_s += 0.5
        shares.settle(now_s)
        done = [ticket for ticket in open_tickets if ticket.turn.done()]
        assert done or now_s < 200, "somebody waits for ever"
        for ticket in done:
            open_tickets.remove(ticket)
            shares.leave(ticket, 0.0, now_s)
    assert shares.total == 0
    shares.settle(now_s + 10)
    assert not shares.is_waited_for
