"""Readings of symbols that a release does not know: a newer one may write them to records that this one reads.

Only what is safe to be taken for another stands here, and it is the cautious one. Every other enum is closed in Avro: a
new symbol of it is an incompatible change, and a record with one waits for the release that knows it. Nobody may take a
side, an order type or the kind of a ledger entry for another.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from common.contracts.controls import TradingState
from common.contracts.events import AccountStatus
from common.contracts.values import RestingOrders, TimeInForce

READINGS: Final[Mapping[type[Enum], Enum]] = {
    TimeInForce: TimeInForce.DAY,
    RestingOrders: RestingOrders.CANCEL,
    AccountStatus: AccountStatus.SUSPENDED,
    TradingState: TradingState.HALTED,
}
