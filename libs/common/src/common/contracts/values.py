"""Integer values with the unit in the name. No float touches money.

Prices are integers in 1e-4 currency units (``price_e4``), cash and notional likewise (``cash_e4``, ``notional_e4``),
quantities are whole shares or contracts, times are nanoseconds since the Unix epoch (``*_ns``).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from common.contracts.personal import Personal

E4: Final = 10_000
"""How many price or cash units make one unit of currency."""

INT64_MAX: Final = 2**63 - 1


def within_int64(number: int) -> int:
    """The nearest number that 64 bits hold, both signs alike."""
    return max(-INT64_MAX, min(INT64_MAX, number))


PriceE4 = Annotated[int, Field(strict=True, ge=0, le=INT64_MAX)]
CashE4 = Annotated[int, Field(strict=True, ge=-INT64_MAX, le=INT64_MAX)]
Quantity = Annotated[int, Field(strict=True, ge=-INT64_MAX, le=INT64_MAX)]
TimestampNs = Annotated[int, Field(strict=True, ge=0, le=INT64_MAX)]
InstrumentId = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]

SYMBOL_CHARS_MAX: Final = 16
SYMBOL_SIGNS: Final = ".+=^#*/$!~%@-"
"""Signs of a symbol's suffix beside letters and digits; in this order they may stand in a class of a pattern."""
SYMBOL_PATTERN: Final = rf"[A-Z0-9][A-Z0-9{SYMBOL_SIGNS}]{{0,{SYMBOL_CHARS_MAX - 1}}}"
"""Root and suffix as Nasdaq's platform and ITCH write them (nasdaqtrader.com, "Ticker Symbol Convention")."""
ACCOUNT_ID_PATTERN: Final = r"[A-Za-z0-9_-]{1,32}"
CLIENT_ORDER_ID_PATTERN: Final = r"[A-Za-z0-9_-]{1,64}"

Symbol = Annotated[str, StringConstraints(pattern=f"^{SYMBOL_PATTERN}$")]
AccountId = Annotated[str, StringConstraints(pattern=f"^{ACCOUNT_ID_PATTERN}$"), Personal.ACCOUNT]
ClientOrderId = Annotated[str, StringConstraints(pattern=f"^{CLIENT_ORDER_ID_PATTERN}$"), Personal.TEXT]
"""The client's own id of an order (FIX ClOrdID, tag 11), unique within the account."""
OrderId = Annotated[
    str, StringConstraints(pattern=rf"^{ACCOUNT_ID_PATTERN}\.{CLIENT_ORDER_ID_PATTERN}$"), Personal.IN_ACCOUNT
]
"""``{account_id}.{client_order_id}``: made before sending, so that a retry is the same order."""

BreakId = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,10}-[0-9]{1,19}$")]
"""``{partition}-{offset}`` of the refused report on ``orders.executions``."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Side(StrEnum):
    """FIX Side (tag 54), as ITCH writes it."""

    BUY = "B"
    SELL = "S"


class OrderType(StrEnum):
    """FIX OrdType (tag 40)."""

    LIMIT = "LIMIT"
    MARKET = "MARKET"


class TimeInForce(StrEnum):
    """FIX TimeInForce (tag 59). DAY ends with its session, GTD at its ``expire_ns``, GTC with neither. IOC and FOK
    never rest: what an IOC does not trade at once is canceled, and a FOK trades all of it at once or nothing.
    """

    DAY = "DAY"
    IOC = "IOC"
    FOK = "FOK"
    GTC = "GTC"
    GTD = "GTD"


TIMES_IN_FORCE: Final = tuple(TimeInForce)
"""By the numbers that columns have of them: a new one comes at the end."""
IMMEDIATE: Final = frozenset({TimeInForce.IOC, TimeInForce.FOK})
"""Times in force of orders that never rest."""


class SelfMatch(StrEnum):
    """Which of two orders of one account that would meet the venue cancels (FIX SelfMatchPreventionInstruction, tag
    2964). Cancel the newest: what is left of the arriving order, once it would meet its own. Cancel the oldest: all of
    the account's resting orders that the arriving one meets, before it trades.
    """

    CANCEL_NEWEST = "CANCEL_NEWEST"
    CANCEL_OLDEST = "CANCEL_OLDEST"


SELF_MATCH_MODE: Final = "self_match_mode"
"""Name of the limit, and of its number in a decision that leaves it to the venue."""
SELF_MATCH_DENIED: Final = 1
"""Number of the mode in which no venue is asked: the gate denies the arriving order."""
SELF_MATCH_MODES: Final[Mapping[int, SelfMatch | None]] = {
    SELF_MATCH_DENIED: None,
    2: SelfMatch.CANCEL_NEWEST,
    3: SelfMatch.CANCEL_OLDEST,
}
"""By the numbers that limits have: of two modes the one with the smaller number lets less happen."""


class RestingOrders(StrEnum):
    """Fate of the account's open orders at a suspension."""

    CANCEL = "cancel"
    KEEP = "keep"


def order_id_of(account_id: str, client_order_id: str) -> str:
    """The order id that every service derives alike."""
    return f"{account_id}.{client_order_id}"
