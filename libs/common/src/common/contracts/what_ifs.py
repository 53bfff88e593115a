"""Questions what the gate would say of an order that nobody sends, and answers: ``risk.what-ifs``. Key: account_id."""

from typing import Annotated, Literal

from pydantic import Field

from common.contracts.events import Event, MarkRead, OrderIntent
from common.contracts.reason_codes import ReasonCode
from common.contracts.values import AccountId, CashE4, ClientOrderId, PriceE4, Quantity, TimestampNs


class WhatIf(Event):
    """Somebody asks what would become of an order."""

    type: Literal["what_if"] = "what_if"
    account_id: AccountId
    question_id: ClientOrderId
    order: OrderIntent


class WhatIfAnswer(Event):
    """The gate's answer to one ``WhatIf``. Nothing was reserved, counted or remembered, and nothing is promised."""

    type: Literal["what_if_answer"] = "what_if_answer"
    account_id: AccountId
    question_id: ClientOrderId
    accepted: bool
    reason: ReasonCode | None = None
    compared: dict[str, int] = Field(default_factory=dict, description="the numbers behind the verdict")
    reserved_cash_e4: CashE4 = Field(default=0, description="what it would reserve")
    reserved_qty: Quantity = 0
    protection_price_e4: PriceE4 | None = None
    qty_max: Quantity = Field(description="most shares of such an order that would be accepted; 0: none")
    headroom: dict[str, int] = Field(description="how much of each limit that is set is left before the order")
    mark: MarkRead | None = None
    decided_ns: TimestampNs
    question_partition: int
    question_offset: int


WhatIfMessage = Annotated[WhatIf | WhatIfAnswer, Field(discriminator="type")]
