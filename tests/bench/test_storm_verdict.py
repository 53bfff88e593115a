"""The verdict of the storm bench finds what it is there to find."""

from bench.peers.gate_meter import CASH_E4
from bench.peers.verdict import Decision, Intent, Verdict, judge, reference
from bench.storm import pauses

INTENTS = [
    Intent(0, "A", CASH_E4 // 2),
    Intent(1, "B", 100),
    Intent(2, "A", CASH_E4 // 2),
    Intent(3, "A", 1),
    Intent(4, "B", 50),
]


def exact() -> list[Decision]:
    return list(reference(INTENTS).values())


def test_reference_when_cash_is_used_up_then_denied_and_sequence_goes_on() -> None:
    denied = reference(INTENTS)[3]
    assert denied == Decision(3, "A", False, 3, CASH_E4 // 2 * 2)


def test_verdict_when_every_intent_is_decided_once_then_nothing_is_wrong() -> None:
    assert judge(INTENTS, exact()) == Verdict(5, 0, 0, 0, 0)


def test_verdict_when_a_decision_is_missing_then_lost_and_the_money_of_the_last_one() -> None:
    assert judge(INTENTS, exact()[:-1]) == Verdict(5, lost=1, duplicated=0, wrong=0, money_off_e4=50)


def test_verdict_when_an_intent_is_decided_twice_then_duplicated_and_its_money_reserved_twice() -> None:
    again = Decision(4, "B", True, 3, 200)
    assert judge(INTENTS, [*exact(), again]) == Verdict(5, lost=0, duplicated=1, wrong=0, money_off_e4=50)


def test_verdict_when_an_account_was_decided_on_stale_state_then_wrong() -> None:
    decisions = exact()
    decisions[4] = Decision(4, "B", True, 1, 50)  # as if the first reservation had been forgotten
    assert judge(INTENTS, decisions) == Verdict(5, lost=0, duplicated=0, wrong=1, money_off_e4=100)


def test_verdict_when_a_decision_has_no_intent_then_wrong() -> None:
    assert judge(INTENTS, [*exact(), Decision(9, "C", True, 1, 7)]) == Verdict(5, 0, 0, wrong=1, money_off_e4=7)


def test_pauses_when_what_was_committed_before_a_kill_arrives_after_it_then_the_silence_after_that_counts() -> None:
    receipts = [9.5, 10.5, 13.5, *(14.0 + step / 2 for step in range(12)), 21.0, 21.5]
    assert pauses([10.0, 20.0], receipts) == [3.0, 1.0]
