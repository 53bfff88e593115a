"""Reports that the books refuse, for the dashboard."""

from common.contracts.breaks import BreakReason, ExecutionBreak, ReportedEffect
from common.contracts.events import ExecType, ExecutionReport
from common.contracts.values import Side


def refused(account_id: str, now_ns: int) -> list[ExecutionBreak]:
    """Reports that a venue has said twice and the books refuse."""
    order_id = f"{account_id}.c000003"
    report = ExecutionReport(
        execution_id="XV-20417",
        exec_type=ExecType.TRADE,
        order_id=order_id,
        account_id=account_id,
        symbol="AAPL",
        side=Side.BUY,
        last_qty=700,
        last_price_e4=2_714_000,
        cum_qty=1_100,
        venue_ns=now_ns,
    )
    bust = report.model_copy(
        update={"execution_id": "XV-20431", "exec_type": ExecType.TRADE_CANCEL, "ref_execution_id": "XV-19877"}
    )
    found = [
        (BreakReason.OVERFILL, {"last_qty": 700, "open_qty": 600, "excess_qty": 100}, report, "fill"),
        (BreakReason.BUST_UNKNOWN, {}, bust, "back"),
    ]
    return [
        ExecutionBreak(
            break_id=f"2-{1_041 + number}",
            account_id=account_id,
            order_id=order_id,
            reason=reason,
            compared=compared,
            effect=ReportedEffect(**{f"{what}_qty": 700, f"{what}_price_e4": 2_714_000}),
            report=said,
            opened_ns=now_ns - number * 1_000_000_000,
        )
        for number, (reason, compared, said, what) in enumerate(found)
    ]
