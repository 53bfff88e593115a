"""Orders that the gate denies for their terms: one or more for each reason."""

from typing import Any

from common.contracts.values import TimeInForce
from common.testing.orders import NOW_NS, instrument
from risk.domain.gate import AccountState, Limits, Market

from tests.risk.gate_denials import FUNDED, mark, market

FOK, GTD = {"time_in_force": TimeInForce.FOK}, {"time_in_force": TimeInForce.GTD}
LATER = Market(instrument(), mark(), ord("T"), reference_age_ns=5)
"""A symbol that has been quiet for 5 ns."""

TERM_DENIALS: dict[str, tuple[dict[str, Any], AccountState, Market, Limits, str, dict[str, int]]] = {
    "minimum of an order that may rest": (
        {"min_qty": 10}, FUNDED, market(), Limits(), "MIN_QTY_UNEXPECTED", {"min_qty": 10},
    ),
    "minimum above the quantity": (
        {"time_in_force": TimeInForce.IOC, "min_qty": 11},
        FUNDED,
        market(),
        Limits(),
        "MIN_QTY_INVALID",
        {"min_qty": 11, "qty": 10},
    ),
    "minimum of a FOK that is not all of it": (
        {**FOK, "min_qty": 9}, FUNDED, market(), Limits(), "MIN_QTY_INVALID", {"min_qty": 9, "qty": 10},
    ),
    "GTD without a time": (GTD, FUNDED, market(), Limits(), "EXPIRY_MISSING", {}),
    "a time, and not GTD": (
        {"expire_ns": NOW_NS + 1}, FUNDED, market(), Limits(), "EXPIRY_UNEXPECTED", {"expire_ns": NOW_NS + 1},
    ),
    "expired by the mark": (
        {**GTD, "expire_ns": NOW_NS},
        FUNDED,
        market(),
        Limits(),
        "EXPIRY_PAST",
        {"expire_ns": NOW_NS, "exchange_ns": NOW_NS},
    ),
    "expired by the clock since": (
        {**GTD, "expire_ns": NOW_NS + 5},
        FUNDED,
        LATER,
        Limits(),
        "EXPIRY_PAST",
        {"expire_ns": NOW_NS + 5, "exchange_ns": NOW_NS + 5},
    ),
}  # fmt: skip
