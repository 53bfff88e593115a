"""Proofs that the ledger is broken, and what is none; which fences follow, and which were lifted for good."""

from collections.abc import Sequence
from typing import Any

import pytest
from auditor.fencing import decide
from auditor.proofs import LedgerProofs, Proof
from auditor.truth import LogTruth
from common.contracts.events import (
    CASH,
    Book,
    EntryKind,
    ExecType,
    ExecutionReport,
    LedgerEntry,
    Posting,
)
from common.contracts.fences import PLACES_MAX, Fence
from common.contracts.topics import ORDERS_EXECUTIONS, RISK_LEDGER
from common.contracts.values import Side
from common.ledger.chain import Head, chained, genesis
from hypothesis import given, settings
from hypothesis import strategies as st
from streams.model.message import Message

P = 2


def fund(account: str, seq: int, amount: int = 5, **more: Any) -> LedgerEntry:
    legs = (
        Posting(book=Book.EXTERNAL, asset=CASH, amount=-amount),
        Posting(book=Book.AVAILABLE, asset=CASH, amount=amount),
    )
    said = {"kind": EntryKind.FUND, "postings": legs, "booked_ns": 1, "command_id": f"c{seq}", **more}
    return LedgerEntry(account_id=account, seq=seq, **said)


class Ledger:
    """Writes a partition as the gate does; a stranger may write between."""

    def __init__(self, partition: int = P) -> None:
        self.partition = partition
        self.head = genesis(partition)
        self.records: list[Message] = []
        self._seqs: dict[str, int] = {}

    def book(self, account: str = "a", amount: int = 5, **more: Any) -> Message:
        """The gate's next entry."""
        self._seqs[account] = more.pop("seq", self._seqs.get(account, 0) + 1)
        return self.link(fund(account, self._seqs[account], amount, **more))

    def link(self, entry: LedgerEntry) -> Message:
        """Chains an entry, whatever it says."""
        hashed = RISK_LEDGER.schema.encode(entry.model_copy(update={"chain_seq": self.head.seq + 1}))
        self.head = Head(self.head.seq + 1, chained(self.head.chain, hashed))
        return self.put(entry, hashed[:-1] + f',"chain":"{self.head.chain}"}}'.encode())

    def forge(self, entry: LedgerEntry) -> Message:
        """An entry without a chain, as somebody writes who is no gate."""
        return self.put(entry, RISK_LEDGER.schema.encode(entry))

    def put(self, entry: LedgerEntry, value: bytes) -> Message:
        offset = 2 * len(self.records)  # markers between
        record = Message(RISK_LEDGER, self.partition, offset, entry.account_id.encode(), value, 0)
        self.records.append(record)
        return record


def proofs_of(records: Sequence[Message]) -> list[Proof]:
    proofs = LedgerProofs()
    for record in records:
        proofs.entry(record, record.body)
    return list(proofs.found.values())


def places(records: Sequence[Message]) -> list[str]:
    return [proof.place for proof in proofs_of(records)]


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    for account in "aabab":
        ledger.book(account)
    return ledger


def test_ledger_as_the_gate_writes_it_then_nothing_is_proven(ledger: Ledger) -> None:
    assert proofs_of(ledger.records) == []


def test_ledger_that_began_before_there_was_a_chain_then_nothing_is_proven() -> None:
    ledger = Ledger()
    ledger.forge(fund("a", 1))
    ledger.forge(fund("b", 1))
    ledger.book("a", seq=2)
    assert proofs_of(ledger.records) == []


def test_entry_that_no_gate_wrote_then_it_alone_is_proven_and_the_gate_s_own_are_sound_behind_it(
    ledger: Ledger,
) -> None:
    forged = ledger.forge(fund("a", 4))
    ledger.book("a")
    ledger.book("b")
    assert places(ledger.records) == [f"{P}/{forged.offset}"]


def test_entry_that_was_altered_then_it_alone_is_proven(ledger: Ledger) -> None:
    value = (ledger.records[1].value or b"").replace(b":5}", b":7}").replace(b"-5}", b"-7}")
    ledger.records[1] = replace_value(ledger.records[1], value)
    ledger.book("b")
    assert places(ledger.records) == [f"{P}/2"]


def replace_value(message: Message, value: bytes) -> Message:
    return Message(message.topic, message.partition, message.offset, message.key, value, 0)


def test_entries_that_are_gone_then_the_first_behind_them_is_proven_and_no_account_s_sequence(ledger: Ledger) -> None:
    ledger.book("c")
    ledger.book("b")
    kept = ledger.records[2:]
    assert places(kept) == [f"{P}/4"]
    assert "does not continue number 0" in proofs_of(kept)[0].text


def test_entry_that_stands_twice_then_the_second_is_proven(ledger: Ledger) -> None:
    ledger.put(fund("b", 2), ledger.records[-1].value or b"")
    ledger.book("a")
    assert places(ledger.records) == [f"{P}/10"]


@pytest.mark.parametrize(("seq", "proven"), [(4, False), (3, True), (5, True)])
def test_gate_that_counts_an_account_wrong_then_its_entry_is_proven(ledger: Ledger, seq: int, proven: bool) -> None:
    ledger.book("a", seq=seq)
    assert bool(places(ledger.records)) is proven


def test_gate_that_writes_an_entry_which_does_not_balance_then_it_is_proven(ledger: Ledger) -> None:
    entry = fund("a", 4)
    ledger.link(entry.model_copy(update={"postings": entry.postings[1:]}))
    (proof,) = proofs_of(ledger.records)
    assert "its postings sum to {'@CASH': 5}" in proof.text


def test_request_that_is_booked_twice_then_proven_unless_its_id_may_have_been_forgotten(ledger: Ledger) -> None:
    later = 2 * 86_400_000_000_000
    ledger.book("a", command_id="c1", booked_ns=later)
    assert places(ledger.records) == []
    ledger.book("a", command_id="c1", booked_ns=later + 1)
    assert places(ledger.records) == [f"{P}/12"]


def test_account_on_two_partitions_then_it_cannot_be_told_which_is_wrong(ledger: Ledger) -> None:
    other = Ledger(partition=0)
    other.book("a")
    (proof,) = proofs_of([*ledger.records, *other.records])
    assert proof.is_whole


def test_record_that_cannot_be_read_then_nothing_is_proven_behind_it(ledger: Ledger) -> None:
    proofs = LedgerProofs()
    proofs.unreadable(P)
    for record in ledger.records[2:]:
        proofs.entry(record, record.body)
    assert not proofs.found


@settings(deadline=None)
@given(st.data())
def test_any_one_fault_then_it_is_proven_once_and_on_its_partition_alone(data: st.DataObject) -> None:
    accounts = data.draw(st.lists(st.sampled_from("abc"), min_size=2, max_size=12))
    sound, broken = Ledger(0), Ledger(1)
    at = data.draw(st.integers(0, len(accounts) - 1))
    kind = data.draw(st.sampled_from(["forge", "drop", "alter", "repeat"]))
    for number, account in enumerate(accounts):
        sound.book(f"other-{account}")
        if kind == "forge" and number == max(1, at):
            broken.forge(fund(data.draw(st.sampled_from("abx")), data.draw(st.integers(1, 9))))
        record = broken.book(account)
        if kind == "alter" and number == at:
            broken.records[-1] = replace_value(record, (record.value or b"").replace(b":5}", b":6}"))
        if kind == "repeat" and number == at:
            broken.put(fund(account, 1), record.value or b"")
    broken.book("a")
    if kind == "drop":
        del broken.records[at]
    found = proofs_of([*sound.records, *broken.records])
    assert [proof.partition for proof in found] == [1]


# --- trades -------------------------------------------------------------------------------------------------------


def trade(execution_id: str, qty: int, price_e4: int) -> ExecutionReport:
    return ExecutionReport(
        execution_id=execution_id,
        exec_type=ExecType.TRADE,
        order_id="a.o",
        account_id="a",
        symbol="ACME",
        side=Side.BUY,
        last_qty=qty,
        last_price_e4=price_e4,
        cum_qty=qty,
        venue_ns=1,
    )


def post(execution_id: str, seq: int, qty: int, price_e4: int, **more: Any) -> LedgerEntry:
    paid_e4 = qty * price_e4
    legs = (
        Posting(book=Book.RESERVED, asset=CASH, amount=-paid_e4),
        Posting(book=Book.VENUE, asset=CASH, amount=paid_e4),
        Posting(book=Book.AVAILABLE, asset="ACME", amount=qty),
        Posting(book=Book.VENUE, asset="ACME", amount=-qty),
    )
    said = {"kind": EntryKind.POST, "postings": legs, "order_id": "a.o", "execution_id": execution_id, "booked_ns": 1}
    return LedgerEntry(account_id="a", seq=seq, **said, **more)


def said(report: ExecutionReport, offset: int = 0) -> Message:
    return Message(ORDERS_EXECUTIONS, P, offset, b"a", ORDERS_EXECUTIONS.schema.encode(report), 0)


@pytest.mark.parametrize("first", ["report", "posting"])
@pytest.mark.parametrize(("price_e4", "proven"), [(7, False), (8, True)])
def test_posting_against_its_trade_then_proven_whichever_is_read_first(first: str, price_e4: int, proven: bool) -> None:
    truth, ledger = LogTruth(10), Ledger()
    records = [said(trade("e", 3, 7)), ledger.link(post("e", 1, 3, price_e4))]
    for record in records if first == "report" else reversed(records):
        truth.apply(record, 1.0)
    assert bool(truth.prove(before_s=99.0)) is proven


def test_posting_without_a_trade_then_proven_only_once_every_trade_before_it_was_read() -> None:
    truth, ledger = LogTruth(10), Ledger()
    truth.apply(ledger.link(post("never-said", 1, 3, 7)), 5.0)
    assert truth.prove(before_s=5.0) == []
    (proof,) = truth.prove(before_s=5.1)
    assert "never-said of a.o is posted, and no venue has said it" in proof.text


def test_posting_that_an_operator_booked_or_whose_trade_may_be_unreadable_then_not_proven() -> None:
    truth, ledger = LogTruth(10), Ledger()
    truth.apply(ledger.link(post("by-hand", 1, 3, 7, command_id="c")), 5.0)
    assert truth.prove(before_s=99.0) == []
    truth.apply(ledger.link(post("unknown", 2, 3, 7)), 5.0)
    truth.apply(Message(ORDERS_EXECUTIONS, P, 0, b"a", b"{", 0), 5.0)
    assert truth.prove(before_s=99.0) == []


def test_correction_that_is_read_after_its_posting_then_nothing_is_overdue() -> None:
    truth, ledger = LogTruth(10), Ledger()
    corrected = trade("e2", 3, 7).model_copy(update={"exec_type": ExecType.TRADE_CORRECT, "ref_execution_id": "e1"})
    truth.apply(ledger.link(post("e2", 1, 3, 7)), 1.0)
    truth.apply(said(corrected), 1.0)
    assert truth.matched.overdue(99.0, 1.0) == (0, [])
    assert truth.prove(before_s=99.0) == []


# --- fences -------------------------------------------------------------------------------------------------------


def test_proofs_then_a_fence_for_each_partition_and_none_again_for_what_was_lifted() -> None:
    proofs = [Proof(1, 4, "one"), Proof(1, 8, "two"), Proof(3, 0, "three")]
    raised = decide(proofs, {}, 7)
    assert [(fence.key, fence.places, fence.raised) for fence in raised] == [
        ("risk.gate/1", ("1/4", "1/8"), True),
        ("risk.gate/3", ("3/0",), True),
    ]
    standing = {fence.key: fence for fence in raised}
    assert decide(proofs, standing, 8) == []
    lifted = {key: fence.model_copy(update={"raised": False, "places": (), "known": fence.places})
              for key, fence in standing.items()}  # fmt: skip
    assert decide(proofs, lifted, 8) == []
    (again,) = decide([*proofs, Proof(1, 12, "four")], lifted, 9)
    assert (again.key, again.places, again.known, again.reason) == ("risk.gate/1", ("1/12",), ("1/4", "1/8"), "four")


def test_proof_of_which_nobody_can_tell_the_partition_then_the_whole_stage_is_fenced() -> None:
    (fence,) = decide([Proof(1, 4, "somewhere", is_whole=True)], {}, 7)
    assert (fence.key, fence.partition) == ("risk.gate", None)


def test_proofs_without_end_then_the_newest_are_kept_and_a_lifted_fence_stays_lifted(ledger: Ledger) -> None:
    for _ in range(2 * PLACES_MAX):
        ledger.forge(fund("x", 1))
    proofs = proofs_of(ledger.records)
    assert len(proofs) == PLACES_MAX
    (fence,) = decide(proofs, {}, 7)
    assert fence.reason.endswith(f"and {PLACES_MAX - 3} more")
    lifted = Fence(stage="risk.gate", partition=P, raised=False, known=fence.places)
    assert decide(proofs_of(ledger.records), {lifted.key: lifted}, 8) == []
