"""Facts about an order and the reports on it: values of the judge (``common.executions``) and of its askers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from common.contracts.breaks import BreakReason, ReportedEffect
from common.contracts.values import Side


class Effect(NamedTuple):
    """``contracts.breaks.ReportedEffect``, made for each report."""

    fill_qty: int = 0
    fill_price_e4: int = 0
    back_qty: int = 0
    back_price_e4: int = 0
    ends: bool = False

    def reported(self) -> ReportedEffect:
        """As a break carries it."""
        return ReportedEffect(**self._asdict())


def effect_of(reported: ReportedEffect) -> Effect:
    """Effect of a break when it is booked, as it says itself."""
    return Effect(**reported.model_dump())


NO_EFFECT: Final = Effect()


OF_NO_ORDER: Final = frozenset({BreakReason.ORDER_UNKNOWN, BreakReason.ORDER_MISMATCH})
"""Reasons that leave no order which a fill could be counted on."""
NOT_OF_THE_ORDER: Final = OF_NO_ORDER | {BreakReason.ORDER_DENIED}
"""Reasons of a report whose quantities are not about the order that it names."""


class End(StrEnum):
    """How an order ended at the venue."""

    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"


class OrderFacts(msgspec.Struct, frozen=True, gc=False):
    """Facts of an order in the decision on it, which never change."""

    symbol: str
    side: Side
    qty: int
    worst_price_e4: int
    """The worst price it may trade at: the limit, or for MARKET the protection."""
    denied: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """State of an order by its accepted reports."""

    acknowledged: bool = False
    """The venue has said that it works on it: by NEW, or by trading it."""
    cum_qty: int = 0
    notional_e4: int = 0
    """Sum of price times shares over the fills that stand."""
    ended: End | None = None
    excess_qty: int = 0
    """Shares that the venue counts beyond ``cum_qty``, as it said last; below zero where it counts fewer."""


def leaves_qty(qty: int, cum_qty: int, refused_qty: int) -> int:
    """Open shares of an order of ``qty`` that has not ended, with what operators have booked in ``cum_qty``.

    ``refused_qty`` are shares of accepted fills that an operator has refused to the venue: not traded, and not open.
    The sequence in which reports and operators have moved the order makes no difference to any of the three numbers,
    and so none to what is open.
    """
    return max(0, min(qty, qty - cum_qty - refused_qty))


@dataclass(frozen=True, slots=True)
class Execution:
    """An execution id that was used on an order."""

    digest: str
    """Digest of the first report's body; empty: not known, and any body counts as the same."""
    qty: int = 0
    """Shares of the fill that stands under the id; 0 where there is none, or it was taken back."""
    price_e4: int = 0


Executions = Mapping[str, Execution]
Register = Callable[[str], Execution | None]
"""The executions of one order by id. A second body under a used id has an entry of its own (``reused_id``)."""
