"""Answers what would become of an order: by the gate's own checks, on its tables, and without a trace in them."""

from common.checks.check import CheckChain
from common.contracts.events import MarkRead, ReasonCode
from common.contracts.topics import RISK_WHAT_IFS
from common.contracts.what_ifs import WhatIf, WhatIfAnswer
from streams.model.message import Message, Output
from streams.model.tables import Tables

from risk.domain.gate import Denial, Verdict, case_of, decide
from risk.domain.what_if import headroom_of, most_qty
from risk.intents import meet
from risk.market import MarketReader
from risk.tables import order_key


def on_what_if(
    message: Message,
    question: WhatIf | WhatIfAnswer,
    tables: Tables,
    markets: MarketReader,
    gate: CheckChain,
    now_ns: int,
) -> list[Output]:
    """One answer to a question. Raises ValueError for a question of another account's order."""
    if isinstance(question, WhatIfAnswer):
        return []
    order = question.order
    if order.account_id != question.account_id:
        raise ValueError(f"account {question.account_id} asks of an order of {order.account_id}")
    assert message.key is not None
    met = meet(message.key, order, tables, markets, now_ns)
    verdict = decide(order, met.state, met.symbol, now_ns, gate)
    if tables.changelogged("orders").get(order_key(f"{order.account_id}.{order.client_order_id}")) is not None:
        verdict = Verdict(Denial(ReasonCode.DUPLICATE_ID, {}))
    case, mark = case_of(order, met.state, met.symbol, now_ns), met.symbol.market.mark
    denial = verdict.denial
    answer = WhatIfAnswer(
        account_id=question.account_id,
        question_id=question.question_id,
        accepted=denial is None,
        reason=None if denial is None else denial.reason,
        compared=verdict.leaves_to_venue if denial is None else denial.compared,
        reserved_cash_e4=verdict.reserved_cash_e4,
        reserved_qty=verdict.reserved_qty,
        protection_price_e4=verdict.price_e4 if denial is None else None,
        qty_max=most_qty(case, gate),
        headroom=headroom_of(case),
        mark=None if mark is None else MarkRead(**mark._asdict()),
        decided_ns=now_ns,
        question_partition=message.partition,
        question_offset=message.offset,
    )
    return [Output(RISK_WHAT_IFS, message.key, answer, message.partition)]
