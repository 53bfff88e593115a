"""The live auditor's parts on real stores: what is noticed, what is no reason for alarm, and when."""

from collections.abc import Callable
from typing import Any

import pytest
from auditor.dead_letters import DeadLetterCount
from auditor.domain.compare import Comparer, Kind, Look, Seen
from auditor.domain.place import Place
from auditor.domain.statuses import StatusRow, StatusTruth
from auditor.truth import AccountTruth, LogTruth, OrderTruth
from auditor.views import Calm, StatusWatch
from auditor.walks import EntryFold
from auditor.watch import Sweep
from common.contracts.events import (
    CASH,
    AccountStatus,
    Book,
    CommandResult,
    EntryKind,
    LedgerEntry,
    OrderEvent,
    OrderState,
    Posting,
)
from common.contracts.topics import ORDERS_EXECUTIONS, RISK_DECISIONS, RISK_LEDGER
from common.contracts.values import OrderType, Side, TimeInForce
from common.contracts.views import Envelope, HealthData
from common.ledger.chain import chained, genesis
from common.ledger.fold import Balance
from streams.model.log import Partition, Record
from streams.model.message import Message
from streams.testing.memory_log import MemoryLog

INTERVAL_S = 3.0
EXCUSE_S = 20.0
ENDS = {(RISK_LEDGER.name, 0): 10}

# --- rows ---------------------------------------------------------------------------------------------------------


def entry(seq: int, account: str = "a") -> LedgerEntry:
    legs = (Posting(book=Book.EXTERNAL, asset=CASH, amount=-5), Posting(book=Book.AVAILABLE, asset=CASH, amount=5))
    return LedgerEntry(account_id=account, seq=seq, kind=EntryKind.FUND, postings=legs, booked_ns=1)


def balance(seq: int) -> Balance:
    return Balance(seq, {CASH: 5 * seq}, {})


class Ledger:
    """A fold of one account, and a comparer of one store."""

    def __init__(self) -> None:
        self.truth = AccountTruth()
        self.comparer = Comparer({Kind.ACCOUNT: self.truth}, lambda _, key: self.truth.places[key], 2.0, EXCUSE_S)
        self.now_s = 0.0

    def book(self, *seqs: int) -> None:
        for seq in seqs:
            self.truth.apply(entry(seq))
            self.truth.places["a"] = Place(0, seq)

    def see(self, version: int, row: Any, reached: bool | None = True, key: str = "a") -> list[str]:
        self.now_s += 1.0
        look = Look("store", [Seen(Kind.ACCOUNT, key, version, row)], lambda *_: reached)
        self.comparer.take(look, ENDS, self.now_s)
        return list(self.comparer.divergent.values())

    def settle(self, end: int = 0) -> list[str]:
        self.comparer.settle({(RISK_LEDGER.name, 0): end})
        return list(self.comparer.divergent.values())


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    ledger.book(1, 2)
    return ledger


def test_row_at_the_version_of_the_fold_then_it_must_be_equal(ledger: Ledger) -> None:
    assert ledger.see(2, balance(2)) == []
    assert ledger.see(2, Balance(2, {CASH: 11}, {})) == ["at 2: available @CASH is 11, the ledger says 10"]
    assert ledger.comparer.again("store", Kind.ACCOUNT) == {"a"}
    assert ledger.see(2, balance(2)) == []


@pytest.mark.parametrize(("cash", "differs"), [(20, False), (21, True)])
def test_row_ahead_of_the_fold_then_compared_at_its_very_version_once_the_fold_has_passed_it(
    ledger: Ledger, cash: int, differs: bool
) -> None:
    assert ledger.see(4, Balance(4, {CASH: cash}, {})) == []
    assert ledger.settle() == []
    ledger.book(3, 4, 5)
    assert bool(ledger.settle()) is differs
    assert not ledger.truth.remembered
    assert not ledger.truth._wanted


def test_row_ahead_of_the_end_of_the_log_then_it_was_never_written_there(ledger: Ledger) -> None:
    assert ledger.see(3, balance(3)) == []
    assert ledger.settle(9) == []
    assert ledger.settle(10) == ["stands at 3, the log at 2"]


def test_account_that_no_log_knows_then_only_an_empty_one_is_right(ledger: Ledger) -> None:
    assert ledger.see(0, Balance(0, {}, {}), key="new") == []
    assert ledger.see(1, balance(1), key="forged") == []
    assert ledger.settle(10) == ["stands at 1, the log at 0"]


@pytest.mark.parametrize(
    ("version", "row", "text"), [(1, balance(1), "stands at 1, the log at 2"), (0, None, "missing")]
)
def test_row_behind_the_fold_then_it_depends_on_how_far_the_store_has_come(
    ledger: Ledger, version: int, row: Any, text: str
) -> None:
    assert ledger.see(version, row, reached=False) == []
    assert ledger.comparer.again("store", Kind.ACCOUNT) == {"a"}
    assert ledger.see(version, row, reached=True) == [text]


def test_view_behind_the_fold_then_it_may_stand_still_for_the_grace_and_no_longer(ledger: Ledger) -> None:
    assert ledger.see(1, balance(1), reached=None) == []
    assert ledger.see(1, balance(1), reached=None) == []
    assert ledger.see(1, balance(1), reached=None) == ["stands at 1, the log at 2"]
    assert ledger.see(2, balance(2), reached=None) == []


def test_view_behind_the_fold_that_moves_then_the_grace_begins_anew(ledger: Ledger) -> None:
    for seq in range(3, 9):
        ledger.book(seq)
        assert ledger.see(seq - 1, balance(seq - 1), reached=None) == []


@pytest.mark.parametrize("reached", [False, None])
def test_row_behind_for_longer_than_any_excuse_then_divergent_whatever_its_store_says(
    ledger: Ledger, reached: bool | None
) -> None:
    """A projection that stands still for ever, or a view whose writer restarts for ever."""
    ledger.comparer.grace_s = 1e9
    for _ in range(int(EXCUSE_S)):
        assert ledger.see(1, balance(1), reached=reached) == []
    assert ledger.see(1, balance(1), reached=reached) == [f"stands at 1, the log at 2, for {EXCUSE_S:.0f} s"]
    assert ledger.see(2, balance(2)) == []


def test_row_that_is_always_behind_and_comes_on_then_excused(ledger: Ledger) -> None:
    for seq in range(3, 3 + 2 * int(EXCUSE_S)):
        ledger.book(seq)
        assert ledger.see(seq - 1, balance(seq - 1), reached=False) == []


def order(order_id: str, revision: int, state: OrderState) -> OrderEvent:
    return OrderEvent(
        order_id=order_id,
        account_id="a",
        client_order_id="o",
        symbol="ACME",
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.DAY,
        qty=1,
        state=state,
        revision=revision,
        sent_ns=1,
        updated_ns=1,
    )


def test_orders_that_ended_long_ago_then_forgotten_and_not_judged() -> None:
    truth = OrderTruth(ended_max=2)
    for number in range(5):
        truth.apply(order(f"a.{number}", 1, OrderState.WORKING))
        truth.apply(order(f"a.{number}", 2, OrderState.FILLED))
    assert list(truth.known()) == ["a.3", "a.4"]
    comparer = Comparer({Kind.ORDER: truth}, lambda _, key: truth.places[key], 0.0)
    comparer.take(Look("store", [Seen(Kind.ORDER, "a.0", 2, None)], lambda *_: True), ENDS, 1.0)
    comparer.settle(ENDS)
    assert comparer.divergent == {}


# --- the log ------------------------------------------------------------------------------------------------------


def ledger_record(offset: int, of: LedgerEntry, head: str, number: int) -> Message:
    value = RISK_LEDGER.schema.encode(of.model_copy(update={"chain_seq": number}))
    text = value[:-1] + f',"chain":"{chained(head, value)}"}}'.encode()
    return Message(RISK_LEDGER, 0, offset, of.account_id.encode(), text, 0)


def test_log_with_a_gap_and_a_doubled_answer_then_both_are_sequence_errors() -> None:
    truth = LogTruth(10)
    truth.apply(ledger_record(0, entry(1), genesis(0).chain, 1))
    truth.apply(ledger_record(1, entry(3), truth.chain.heads()[0].chain, 2))
    assert (truth.sequence_errors, len(truth.faults())) == (1, 1)
    fields: dict[str, Any] = {"account_id": "a", "command_id": "c", "accepted": True, "account_seq": 1, "decided_ns": 1}
    for offset in (4, 4):
        body = CommandResult(**fields, command_partition=0, command_offset=offset)
        truth.apply(Message(RISK_DECISIONS, 0, offset, b"a", RISK_DECISIONS.schema.encode(body), 0))
    assert truth.sequence_errors == 2
    assert truth.faults()[0] == "a: entry 3 follows 1"


def test_log_with_an_entry_altered_then_the_chain_says_which() -> None:
    truth = LogTruth(10)
    record = ledger_record(7, entry(1), genesis(0).chain, 1)
    value = (record.value or b"").replace(b"-5", b"-6").replace(b":5", b":6")
    truth.apply(Message(RISK_LEDGER, 0, 7, b"a", value, 0))
    (fault,) = truth.faults()
    assert fault.startswith("risk.ledger 0/7 a entry 1: altered")


def test_records_held_back_then_folded_when_they_are_old_enough() -> None:
    truth = LogTruth(10)
    record = ledger_record(0, entry(1), genesis(0).chain, 1)
    truth.hold([record], {(RISK_LEDGER.name, 0): 2}, now_s=5.0)
    assert truth.next_due(4.9) is None
    assert truth.waiting == 1
    assert truth.next_due(5.0) == [record]
    assert truth.positions == {(RISK_LEDGER.name, 0): 2}
    assert truth.accounts.newest("a") == 1


async def test_dead_letters_then_counted_by_topic_markers_and_aborted_ones_left_out() -> None:
    topic = ORDERS_EXECUTIONS
    log = MemoryLog({topic.dead_letters: topic.partitions, "other": 1})
    count = DeadLetterCount((topic,))
    await count.look(log)
    assert (count.total, count.counts) == (0, {topic.name: 0})
    producer = await log.fence("gate")
    place = Partition(topic.dead_letters, 1)
    for end in (producer.commit, producer.abort, producer.commit):
        await producer.begin()
        await producer.append(place, [Record(b"k", b"v", 0)])
        await end()
        await count.look(log)
    assert count.counts == {topic.name: 2}
    await count.look(log)
    assert count.total == 2


# --- what the stores say ------------------------------------------------------------------------------------------


def test_projection_s_own_ledger_then_folded_account_by_account() -> None:
    postings = '[{"book":"AVAILABLE","asset":"@CASH","amount":5},{"book":"EXTERNAL","asset":"@CASH","amount":-5}]'
    first, second = EntryFold("a"), EntryFold("b")
    assert EntryFold("").seen() == []
    first.take(1, postings, 7)
    first.take(2, postings, 8)
    second.take(2, postings, 9)
    folded, rows = first.seen()
    assert (folded.key, folded.version, folded.row) == ("a", 2, balance(2))
    assert (rows.key, rows.version, rows.row) == ("a", 2, (2, 15))
    assert second.seen()[0].row == "entry 2 follows 0"


def health(worker: str, epoch: int, at_ns: int, ready: bool = True) -> Envelope:
    data = HealthData(service="risk", worker=worker, ready=ready, detail={}, at_ns=at_ns).model_dump()
    return Envelope(name="health", scope="risk", key=worker, epoch=epoch, seq=1, prev=0, data=data)


@pytest.mark.parametrize(
    ("change", "calm"),
    [
        (lambda now_ns: [health("r1", 1, now_ns)], True),
        (lambda now_ns: [health("r1", 2, now_ns)], False),
        (lambda now_ns: [health("r1", 1, now_ns, ready=False)], False),
        (lambda now_ns: [health("r1", 1, now_ns - 4_000_000_000)], False),
        (lambda now_ns: [], False),
    ],
    ids=["same", "restarted", "not ready", "silent", "gone"],
)
def test_views_are_judged_only_while_their_writer_is_as_it_was(
    change: Callable[[int], list[Envelope]], calm: bool
) -> None:
    writer = Calm(calm_s=30.0)
    start_ns = 1_800_000_000_000_000_000
    writer.take([health("r1", 1, start_ns)], start_ns, 0.0)
    assert writer.is_calm
    later_ns = start_ns + 10_000_000_000
    writer.take(change(later_ns), later_ns, 10.0)
    assert writer.is_calm is calm


def test_writer_that_restarts_for_ever_then_it_excuses_its_views_no_longer_than_the_bound() -> None:
    writer, now_s = Calm(calm_s=30.0, excuse_max_s=60.0), 0.0
    for epoch in range(100):
        writer.take([health("r1", epoch, int(now_s * 1e9))], int(now_s * 1e9), now_s)
        assert writer.is_calm is (epoch == 0 or now_s >= 61.0)
        now_s += 1.0


def test_redis_that_comes_and_goes_then_it_excuses_views_no_longer_than_the_bound() -> None:
    writer = Calm(calm_s=30.0, excuse_max_s=60.0)
    for now_s in range(200):
        writer.disturb(float(now_s))
        assert writer.is_calm is (now_s >= 60)


def test_status_of_a_view_then_it_may_be_late_for_the_grace_and_no_longer() -> None:
    watch = StatusWatch(grace_s=2.0)
    assert watch.take("a", "ACTIVE", "ACTIVE", 0.0) == ""
    assert watch.take("a", "SUSPENDED", "ACTIVE", 1.0) == ""
    assert watch.take("a", "SUSPENDED", "ACTIVE", 2.0) == ""
    assert watch.take("a", "SUSPENDED", "ACTIVE", 3.0) == "status is SUSPENDED, the log says ACTIVE"
    assert watch.take("a", "SUSPENDED", "SUSPENDED", 4.0) == ""
    assert watch.take("b", "ACTIVE", None, 9.0) == ""


def test_status_of_an_account_then_that_of_the_place_to_which_a_copy_was_read() -> None:
    truth = StatusTruth()
    fields: dict[str, Any] = {"account_id": "a", "command_id": "c", "accepted": True, "account_seq": 1, "decided_ns": 1}
    for offset, status in ((2, AccountStatus.ACTIVE), (4, None), (8, AccountStatus.SUSPENDED)):
        truth.apply(0, offset, CommandResult(**fields, status=status))
    said = [truth.at("a", version) for version in (0, 2, 3, 8, 9)]
    assert said == [StatusRow(s) for s in ("UNKNOWN", "UNKNOWN", "ACTIVE", "ACTIVE", "SUSPENDED")]
    truth.begin({(RISK_DECISIONS.name, 0): 1})
    assert truth.at("a", 2) is None


def test_sweep_then_every_key_comes_by_in_a_round_and_new_ones_in_the_next() -> None:
    sweep, keys = Sweep(), ["a", "b", "c"]
    assert sweep.next(keys, 2) == ["a", "b"]
    keys.append("d")
    assert sweep.next(keys, 2) == ["c", "a"]
    assert sweep.next(keys, 4) == ["b", "c", "d", "a"]
    assert sorted(Sweep().next(keys, 9)) == keys
