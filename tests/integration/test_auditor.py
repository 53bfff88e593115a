"""The live auditor's parts on real stores: what is noticed, what is no reason for alarm, and when."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from common.contracts.events import CASH, Book, CommandResult, EntryKind, LedgerEntry, OrderEvent, OrderState, Posting
from common.contracts.topics import RISK_DECISIONS, RISK_LEDGER
from common.contracts.values import OrderType, Side, TimeInForce
from common.contracts.views import Envelope, HealthData
from common.runtime.message import Message
from common.runtime.store import RocksStore, StoreFollower, read_store
from tidemark.audit.chain import chained, genesis
from tidemark.audit.fold import Balance
from tidemark.auditor.compare import ACCOUNT, ORDER, Comparer, Look, Seen
from tidemark.auditor.files import StoreFiles
from tidemark.auditor.projection import _EntryWalk
from tidemark.auditor.truth import AccountTruth, LogTruth, OrderTruth, Place
from tidemark.auditor.views import Calm
from tidemark.auditor.watch import Sweep

INTERVAL_S = 3.0
ENDS = {(RISK_LEDGER.name, 0): 10}

# --- files --------------------------------------------------------------------------------------------------------


class Disk:
    """A store with table files and a log, its watch, and a clock of the test's own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = RocksStore(path)
        self.files = StoreFiles(path, "store")
        self.now_s = 0.0
        self.offset = 0

    def write(self, rows: int = 50) -> None:
        self.offset += 1
        self.store.write([(b"t/%d" % n, os.urandom(300)) for n in range(rows)], self.offset)

    def flush(self) -> None:
        self.store._db.flush()

    def look(self, after_s: float = 1.0) -> dict[str, str]:
        self.now_s += after_s
        self.files.look(INTERVAL_S, 1 << 30, self.now_s)
        return self.files.damaged

    def file(self, suffix: str) -> Path:
        return max(
            (path for path in self.path.iterdir() if path.suffix == suffix), key=lambda path: path.stat().st_size
        )


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "store")
    disk.write()
    disk.flush()
    disk.write()
    assert disk.look() == {}
    yield disk
    disk.store.close()


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


@pytest.mark.parametrize("suffix", [".sst", ".log"])
@pytest.mark.parametrize("at", [0, 100, -1])
def test_byte_of_a_file_flipped_then_damaged_at_the_next_look_and_sound_once_it_is_back(
    disk: Disk, suffix: str, at: int
) -> None:
    path = disk.file(suffix)
    place = at % path.stat().st_size
    flip(path, place)
    assert list(disk.look()) == [path.name]
    assert list(disk.look()) == [path.name]
    flip(path, place)
    assert disk.look() == {}


def test_byte_flipped_in_a_log_that_goes_on_growing_then_damaged_within_the_interval(disk: Disk) -> None:
    path = disk.file(".log")
    flip(path, 60)
    disk.write()
    assert list(disk.look(INTERVAL_S)) == [path.name]


def test_file_cut_short_then_damaged(disk: Disk) -> None:
    path = disk.file(".sst")
    os.truncate(path, path.stat().st_size - 1)
    assert "1 bytes shorter" in disk.look()[path.name]


def test_byte_rotten_without_a_trace_then_damaged_within_the_interval(disk: Disk) -> None:
    path = disk.file(".sst")
    known = disk.files._files[path.name]
    flip(path, 100)
    status = path.stat()
    known.stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    assert disk.look(INTERVAL_S / 2) == {}
    assert list(disk.look(INTERVAL_S)) == [path.name]


def test_store_written_flushed_compacted_reopened_and_wiped_then_never_damaged(disk: Disk) -> None:
    for _ in range(4):
        disk.write(2_000)
        assert disk.look(INTERVAL_S) == {}
        disk.flush()
        assert disk.look() == {}
    disk.store._db.compact_range(None, None)
    assert disk.look() == {}
    disk.store.close()
    disk.store = RocksStore(disk.path)
    disk.write()
    assert disk.look(INTERVAL_S) == {}
    disk.store.wipe()
    disk.write()
    assert disk.look(INTERVAL_S) == {}
    assert disk.files.begun == 1


def test_follower_sees_what_the_owner_wrote_when_it_catches_up(disk: Disk, tmp_path: Path) -> None:
    follower = StoreFollower(disk.path, tmp_path / "scratch")
    disk.store.write([(b"t/1", b"new"), (b"u/1", b"other")], 9)
    assert follower.get(b"t/1") != b"new"
    follower.catch_up()
    assert follower.get(b"t/1") == b"new"
    assert list(follower.prefix(b"u/")) == [(b"u/1", b"other")]
    assert next(key for key, _ in follower.prefix(b"t/", b"t/9")) == b"t/9"
    follower.close()


def test_follower_of_a_file_with_a_wrong_checksum_then_an_error_of_the_system(disk: Disk, tmp_path: Path) -> None:
    flip(disk.file(".sst"), 100)
    follower = StoreFollower(disk.path, tmp_path / "scratch")
    with pytest.raises(OSError, match="Corruption"):
        list(follower.prefix(b"t/"))
    with pytest.raises(OSError, match="Corruption"):
        list(read_store(disk.path))


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
        self.comparer = Comparer({ACCOUNT: self.truth}, grace_s=2.0)
        self.now_s = 0.0

    def book(self, *seqs: int) -> None:
        for seq in seqs:
            self.truth.apply(entry(seq))
            self.truth.places["a"] = Place(0, seq)

    def see(self, version: int, row: Any, reached: bool | None = True, key: str = "a") -> list[str]:
        self.now_s += 1.0
        look = Look("store", [Seen(ACCOUNT, key, version, row)], lambda *_: reached)
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
    assert ledger.comparer.again("store", ACCOUNT) == {"a"}
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
    assert ledger.comparer.again("store", ACCOUNT) == {"a"}
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
    comparer = Comparer({ORDER: truth}, grace_s=0.0)
    comparer.take(Look("store", [Seen(ORDER, "a.0", 2, None)], lambda *_: True), ENDS, 1.0)
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


# --- what the stores say ------------------------------------------------------------------------------------------


def test_projection_s_own_ledger_then_folded_account_by_account() -> None:
    walk = _EntryWalk()
    postings = '[{"book":"AVAILABLE","asset":"@CASH","amount":5},{"book":"EXTERNAL","asset":"@CASH","amount":-5}]'
    assert walk.take("a", 1, postings) is None
    assert walk.take("a", 2, postings) is None
    done = walk.take("b", 2, postings)
    assert done is not None
    assert (done.key, done.version, done.row) == ("a", 2, balance(2))
    last = walk.finished()
    assert last is not None
    assert last.row == "entry 2 follows 0"


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


def test_sweep_then_every_key_comes_by_in_a_round_and_new_ones_in_the_next() -> None:
    sweep, keys = Sweep(), ["a", "b", "c"]
    assert sweep.next(keys, 2) == ["a", "b"]
    keys.append("d")
    assert sweep.next(keys, 2) == ["c", "a"]
    assert sweep.next(keys, 4) == ["b", "c", "d", "a"]
    assert sorted(Sweep().next(keys, 9)) == keys
