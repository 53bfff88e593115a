"""The audit matches what the venue said with what was posted: fills, busts and breaks, and what was booked by hand."""

from collections.abc import Sequence
from typing import Any

from common.contracts.breaks import BreakReason, BreakResolution, ExecutionBreak, ReportedEffect
from common.contracts.events import (
    CASH,
    Book,
    BreakAction,
    EntryKind,
    ExecType,
    ExecutionReport,
    LedgerEntry,
    Posting,
)
from common.contracts.values import Side
from common.ledger.fold import LedgerFold
from common.ledger.rows import BreakFold, ExecutionFold, execution_row
from tidemark.audit.checks import ExecutionCheck, Fills


def report(execution_id: str, exec_type: ExecType, **fields: Any) -> ExecutionReport:
    return ExecutionReport(
        execution_id=execution_id,
        exec_type=exec_type,
        order_id="a.o1",
        account_id="a",
        symbol="AAPL",
        side=Side.BUY,
        venue_ns=1,
        **fields,
    )


def trade(execution_id: str, qty: int = 10, price_e4: int = 100) -> ExecutionReport:
    return report(execution_id, ExecType.TRADE, last_qty=qty, last_price_e4=price_e4, cum_qty=qty)


def moved(
    seq: int, kind: EntryKind, fill: str, cash_e4: int = 1_000, shares: int = 10, command_id: str | None = None
) -> LedgerEntry:
    """Shares bought for cash, or the other way round."""
    legs = (
        (Book.AVAILABLE, CASH, -cash_e4),
        (Book.VENUE, CASH, cash_e4),
        (Book.AVAILABLE, "AAPL", shares),
        (Book.VENUE, "AAPL", -shares),
    )
    return LedgerEntry(
        account_id="a",
        seq=seq,
        kind=kind,
        postings=tuple(Posting(book=book, asset=asset, amount=amount) for book, asset, amount in legs),
        order_id="a.o1",
        command_id=command_id,
        execution_id=fill,
        booked_ns=seq,
    )


def broken(break_id: str, of: ExecutionReport, **effect: int) -> ExecutionBreak:
    return ExecutionBreak(
        break_id=break_id,
        account_id="a",
        order_id="a.o1",
        reason=BreakReason.OVERFILL,
        effect=ReportedEffect(**effect),
        report=of,
        opened_ns=1,
    )


def found(reports: Sequence[ExecutionReport], entries: Sequence[LedgerEntry], *breaks: Any) -> list[str]:
    executions, ledger, known = ExecutionFold(), LedgerFold(), BreakFold()
    for number, each in enumerate(reports):
        executions.apply(each, f"0-{number}")
    for each_entry in entries:
        ledger.apply(each_entry)
    for record in breaks:
        known.apply(record)
    check = Fills(executions, ledger, known)
    check.require()
    assert check.is_settled == check.result().is_sound
    return check.result().findings.examples


def test_fills_when_posting_differs_is_missing_or_invented_then_found() -> None:
    reports = [trade("same"), trade("less"), trade("lost")]
    entries = [
        moved(1, EntryKind.POST, "same"),
        moved(2, EntryKind.POST, "less", cash_e4=999),
        moved(3, EntryKind.POST, "invented"),
    ]
    assert found(reports, entries) == [
        "less: traded 10 shares for -1000 e4 on a.o1, posted 10 for -999 on a.o1",
        "lost of a.o1 is not in the ledger",
        "invented is in the ledger, but the venue never said it",
    ]


def test_fills_when_refused_repeated_or_said_anew_under_a_used_id_then_each_is_a_break_or_found() -> None:
    refused, again = trade("refused"), trade("x", 20)
    reports = [refused, trade("x"), trade("x"), again, again]
    entries = [moved(1, EntryKind.POST, "x")]
    assert found(reports, entries) == [
        "refused of a.o1 is not in the ledger",
        "x of a.o1: said again with another body at 0-3, and no break",
    ]
    assert found(reports, entries, broken("0-0", refused), broken("0-3", again)) == []


def test_fills_when_an_id_is_used_for_two_orders_then_each_is_posted_or_found() -> None:
    one = trade("x")
    other = one.model_copy(update={"order_id": "a.o2"})
    entries = [moved(1, EntryKind.POST, "x")]
    assert found([one, other], entries) == ["x of a.o2 is not in the ledger"]
    assert found([one, other], [*entries, moved(2, EntryKind.POST, "x").model_copy(update={"order_id": "a.o2"})]) == []


def test_copies_when_an_id_has_several_bodies_then_each_row_is_compared_with_its_own() -> None:
    first, second = trade("x"), trade("x", 20)
    other = first.model_copy(update={"order_id": "a.o2"})
    fold = ExecutionFold()
    for number, report in enumerate((first, second, other, first)):
        fold.apply(report, f"0-{number}")

    def differences(*rows: ExecutionReport) -> list[str]:
        check = ExecutionCheck("rows", fold)
        check.compare({"x": (1, tuple(execution_row(row) for row in rows))})
        return check.result().findings.examples

    assert differences(other, second, first) == []
    assert differences(first, other) == ["x #1: missing"]
    edited = second.model_copy(update={"last_qty": 21})
    (found_edit,) = differences(first, other, edited)
    assert "last_qty" in found_edit
    assert differences(first, second, other, edited) == ["x (row 0 too many): stands at 1, the log at 0"]


def test_fills_when_booked_by_hand_then_as_its_break_says_or_found() -> None:
    refused = trade("refused")
    opened = broken("0-0", refused, fill_qty=10, fill_price_e4=100)
    entries = [moved(1, EntryKind.POST, "refused", command_id="r1")]
    assert found([refused], entries, opened) == ["command r1 booked a fill, and resolved no break"]
    resolution = BreakResolution(
        break_id="0-0",
        account_id="a",
        command_id="r1",
        action=BreakAction.BOOK,
        note="seen on the venue's screen",
        resolved=opened,
        resolved_ns=2,
    )
    assert found([refused], entries, opened, resolution) == []
    wrong = [moved(1, EntryKind.POST, "refused", cash_e4=900, command_id="r1")]
    assert found([refused], wrong, opened, resolution) == [
        "command r1 booked 10 shares for -900 e4, its break says 10 for -1000"
    ]
    folds = BreakFold()
    folds.apply(opened)
    assert folds.open == 1
    folds.apply(resolution)
    assert folds.open == 0


def test_fills_when_a_trade_is_taken_back_then_all_of_it_or_found() -> None:
    reports = [trade("x"), report("b", ExecType.TRADE_CANCEL, ref_execution_id="x")]
    posted = moved(1, EntryKind.POST, "x")
    assert found(reports, [posted]) == ["b of a.o1 takes back a trade, and nothing was taken back"]
    assert found(reports, [posted, moved(2, EntryKind.BUST, "b", -1_000, -10)]) == []
    assert found(reports, [posted, moved(2, EntryKind.BUST, "b", -1_000, -9)]) == [
        "b: takes back 10 shares for -1000 e4, booked -9 for 1000"
    ]


def test_fills_when_a_sell_then_cash_comes_in_and_shares_go() -> None:
    row = execution_row(trade("x"))._replace(side="S")
    assert (row.shares, row.cash_e4) == (-10, 1_000)
