"""Trades against postings and breaks, as the live auditor matches them."""

from typing import Any

import pytest
from auditor.domain.fills import ExecutionTruth, FillMatch
from auditor.domain.place import Place
from common.contracts.breaks import BreakResolution, ExecutionBreak
from common.contracts.events import (
    CASH,
    Book,
    EntryKind,
    ExecType,
    ExecutionReport,
    LedgerEntry,
    Posting,
)
from common.contracts.values import Side


def trade(execution_id: str, order_id: str = "a.1", qty: int = 5) -> ExecutionReport:
    return ExecutionReport(
        execution_id=execution_id,
        exec_type=ExecType.TRADE,
        order_id=order_id,
        account_id="a",
        symbol="ACME",
        side=Side.BUY,
        last_qty=qty,
        last_price_e4=1,
        cum_qty=qty,
        venue_ns=1,
    )


def refused(report: ExecutionReport, offset: int) -> ExecutionBreak:
    """A break with all that the match reads of one."""
    known: dict[str, Any] = {"break_id": f"0-{offset}", "account_id": "a", "report": report}
    return ExecutionBreak.model_construct(**known)


class Matching:
    """Reports, postings and breaks, each at a second of its own."""

    def __init__(self) -> None:
        self.executions = ExecutionTruth(100)
        self.match = FillMatch(self.executions)
        self.now_s = 100.0
        self.offset = 0

    def say(self, report: ExecutionReport) -> int:
        self.offset += 1
        is_new = self.executions.add(report, Place(0, self.offset))
        self.match.trade((0, self.offset), report, is_new, self.now_s)
        return self.offset

    def post(self, execution_id: str) -> None:
        legs = (Posting(book=Book.VENUE, asset=CASH, amount=-5), Posting(book=Book.AVAILABLE, asset=CASH, amount=5))
        posted = LedgerEntry(
            account_id="a", seq=1, kind=EntryKind.POST, postings=legs, execution_id=execution_id, booked_ns=1
        )
        self.match.posting(posted, self.now_s)

    def overdue(self, after_s: float = 31.0) -> list[str]:
        return self.match.overdue(self.now_s + after_s, 30.0)[1]


@pytest.fixture
def matching() -> Matching:
    return Matching()


def test_trade_that_is_posted_in_either_order_of_reading_then_matched(matching: Matching) -> None:
    matching.say(trade("x1"))
    matching.post("x1")
    matching.post("x2")
    matching.say(trade("x2"))
    assert matching.overdue() == []


def test_trade_without_a_posting_then_overdue_after_the_bound_and_no_longer_once_it_is_posted(
    matching: Matching,
) -> None:
    matching.say(trade("x1"))
    assert matching.overdue(29.0) == []
    assert matching.overdue() == ["x1 of a.1: in no ledger entry and in no break"]
    matching.post("x1")
    assert matching.overdue() == []


def test_posting_without_a_trade_then_overdue_unless_old_trades_are_gone_from_the_log(matching: Matching) -> None:
    matching.post("x1")
    assert matching.overdue() == ["x1 of : posted, but the venue never said it"]
    other = Matching()
    other.match.knows_every_trade = False
    other.post("x1")
    assert other.overdue() == []


def test_trade_that_is_refused_then_a_break_that_is_open_until_it_is_resolved(matching: Matching) -> None:
    report = trade("x1")
    opened = refused(report, matching.say(report))
    matching.match.refusal(opened)
    assert (matching.overdue(), list(matching.match.open_breaks)) == ([], ["0-1"])
    known: dict[str, Any] = {"break_id": "0-1", "account_id": "a", "resolved": opened}
    matching.match.refusal(BreakResolution.model_construct(**known))
    matching.post("x1")
    assert (matching.overdue(), list(matching.match.open_breaks)) == ([], [])


def test_break_that_is_read_before_its_report_then_not_overdue(matching: Matching) -> None:
    report = trade("x1")
    matching.match.refusal(refused(report, 1))
    matching.say(report)
    assert matching.overdue() == []


def test_report_that_is_sent_again_then_not_missed_again(matching: Matching) -> None:
    matching.say(trade("x1"))
    matching.post("x1")
    matching.say(trade("x1"))
    assert matching.overdue() == []


def test_fill_that_is_refused_or_taken_back_then_no_view_has_to_show_it() -> None:
    executions = ExecutionTruth(100)
    for number in range(4):
        executions.add(trade(f"x{number}"), Place(0, number))
    executions.refuse(Place(0, 1), trade("x1"))
    executions.refuse(Place(0, 9), trade("x0"))  # another report under a good one's id
    executions.withdraw("a", "x2")
    executions.refuse(Place(0, 4), trade("x4"))  # the break is read before its report
    executions.add(trade("x4"), Place(0, 4))
    assert executions.shown("a") == ["x0", "x3"]


def test_executions_beyond_the_bound_then_the_oldest_are_forgotten_and_not_judged() -> None:
    executions = ExecutionTruth(2)
    assert executions.is_complete
    for number in range(3):
        assert executions.add(trade(f"x{number}"), Place(0, number))
    assert list(executions.known()) == ["x1", "x2"] == sorted(executions.places)
    assert not executions.is_complete
    assert not executions.add(trade("x2"), Place(0, 7))
