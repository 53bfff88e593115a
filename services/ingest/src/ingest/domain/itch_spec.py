"""The message table of NASDAQ TotalView-ITCH 5.0.

One packed big-endian dtype per message type, field by field as in "Nasdaq TotalView-ITCH 5.0" (Nasdaq, Inc.). Lengths,
the decoding kernel's field table and ``tidemark dump`` all derive from it. Prices have 4 decimals (V: 8), times are
nanoseconds since midnight in New York in 6 bytes (here: two fields, since numpy has no 6-byte integer).
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from common.contracts.ticks import TickFlag, TickKind

_HEADER: Final = (
    ("message_type", "S1"),
    ("stock_locate", ">u2"),
    ("tracking_number", ">u2"),
    ("timestamp_high", ">u2"),  # ns since midnight = timestamp_high << 32 | timestamp_low
    ("timestamp_low", ">u4"),
)


def _message(*fields: tuple[str, str]) -> np.dtype[Any]:
    return np.dtype([*_HEADER, *fields])


_STOCK: Final = ("stock", "S8")
_ORDER: Final = ("order_reference_number", ">u8")
_MATCH: Final = ("match_number", ">u8")
_ADD_ORDER: Final = (_ORDER, ("buy_sell_indicator", "S1"), ("shares", ">u4"), _STOCK, ("price", ">u4"))

MESSAGES: Final[dict[TickKind, np.dtype[Any]]] = {
    TickKind.SYSTEM_EVENT: _message(("event_code", "S1")),
    TickKind.STOCK_DIRECTORY: _message(
        _STOCK,
        ("market_category", "S1"),
        ("financial_status_indicator", "S1"),
        ("round_lot_size", ">u4"),
        ("round_lots_only", "S1"),
        ("issue_classification", "S1"),
        ("issue_sub_type", "S2"),
        ("authenticity", "S1"),
        ("short_sale_threshold_indicator", "S1"),
        ("ipo_flag", "S1"),
        ("luld_reference_price_tier", "S1"),
        ("etp_flag", "S1"),
        ("etp_leverage_factor", ">u4"),
        ("inverse_indicator", "S1"),
    ),
    TickKind.TRADING_ACTION: _message(_STOCK, ("trading_state", "S1"), ("reserved", "S1"), ("reason", "S4")),
    TickKind.REG_SHO: _message(_STOCK, ("reg_sho_action", "S1")),
    TickKind.PARTICIPANT_POSITION: _message(
        ("mpid", "S4"),
        _STOCK,
        ("primary_market_maker", "S1"),
        ("market_maker_mode", "S1"),
        ("market_participant_state", "S1"),
    ),
    TickKind.MWCB_DECLINE: _message(("level_1", ">u8"), ("level_2", ">u8"), ("level_3", ">u8")),
    TickKind.MWCB_STATUS: _message(("breached_level", "S1")),
    TickKind.IPO_QUOTING: _message(
        _STOCK, ("ipo_quotation_release_time", ">u4"), ("ipo_quotation_release_qualifier", "S1"), ("ipo_price", ">u4")
    ),
    TickKind.LULD_COLLAR: _message(
        _STOCK,
        ("auction_collar_reference_price", ">u4"),
        ("upper_auction_collar_price", ">u4"),
        ("lower_auction_collar_price", ">u4"),
        ("auction_collar_extension", ">u4"),
    ),
    TickKind.OPERATIONAL_HALT: _message(_STOCK, ("market_code", "S1"), ("operational_halt_action", "S1")),
    TickKind.ADD: _message(*_ADD_ORDER),
    TickKind.ADD_WITH_MPID: _message(*_ADD_ORDER, ("attribution", "S4")),
    TickKind.EXECUTED: _message(_ORDER, ("executed_shares", ">u4"), _MATCH),
    TickKind.EXECUTED_WITH_PRICE: _message(
        _ORDER, ("executed_shares", ">u4"), _MATCH, ("printable", "S1"), ("execution_price", ">u4")
    ),
    TickKind.CANCEL: _message(_ORDER, ("cancelled_shares", ">u4")),
    TickKind.DELETE: _message(_ORDER),
    TickKind.REPLACE: _message(
        ("original_order_reference_number", ">u8"),
        ("new_order_reference_number", ">u8"),
        ("shares", ">u4"),
        ("price", ">u4"),
    ),
    TickKind.TRADE: _message(*_ADD_ORDER, _MATCH),
    TickKind.CROSS_TRADE: _message(("shares", ">u8"), _STOCK, ("cross_price", ">u4"), _MATCH, ("cross_type", "S1")),
    TickKind.BROKEN_TRADE: _message(_MATCH),
    TickKind.IMBALANCE: _message(
        ("paired_shares", ">u8"),
        ("imbalance_shares", ">u8"),
        ("imbalance_direction", "S1"),
        _STOCK,
        ("far_price", ">u4"),
        ("near_price", ">u4"),
        ("current_reference_price", ">u4"),
        ("cross_type", "S1"),
        ("price_variation_indicator", "S1"),
    ),
    TickKind.RETAIL_INTEREST: _message(_STOCK, ("interest_flag", "S1")),
    TickKind.DIRECT_LISTING: _message(
        _STOCK,
        ("open_eligibility_status", "S1"),
        ("minimum_allowable_price", ">u4"),
        ("maximum_allowable_price", ">u4"),
        ("near_execution_price", ">u4"),
        ("near_execution_time", ">u8"),
        ("lower_price_range_collar", ">u4"),
        ("upper_price_range_collar", ">u4"),
    ),
}
"""Every message type of the specification, and nothing else."""


@dataclass(frozen=True, slots=True)
class TickFields:
    """Which field of a message fills which field of a ``TICK``. An empty name leaves 0.

    ``side`` and ``detail`` name one-byte fields. ``market_wide`` messages carry no instrument.
    """

    order_ref: str = ""
    aux_ref: str = ""
    price: str = ""
    qty: str = ""
    side: str = ""
    detail: str = ""
    flags: int = 0
    market_wide: bool = False


def _of_order(*, aux_ref: str = "", flags: int = 0) -> TickFields:
    return TickFields("order_reference_number", aux_ref, "price", "shares", "buy_sell_indicator", flags=flags)


TICK_FIELDS: Final[dict[TickKind, TickFields]] = {
    TickKind.SYSTEM_EVENT: TickFields(detail="event_code", market_wide=True),
    TickKind.STOCK_DIRECTORY: TickFields(order_ref="stock", qty="round_lot_size", detail="market_category"),
    TickKind.TRADING_ACTION: TickFields(aux_ref="reason", detail="trading_state"),
    TickKind.REG_SHO: TickFields(detail="reg_sho_action"),
    TickKind.PARTICIPANT_POSITION: TickFields(order_ref="mpid", detail="market_participant_state"),
    TickKind.MWCB_DECLINE: TickFields(order_ref="level_2", aux_ref="level_3", price="level_1", market_wide=True),
    TickKind.MWCB_STATUS: TickFields(detail="breached_level", market_wide=True),
    TickKind.IPO_QUOTING: TickFields(
        price="ipo_price", qty="ipo_quotation_release_time", detail="ipo_quotation_release_qualifier"
    ),
    TickKind.LULD_COLLAR: TickFields(
        order_ref="upper_auction_collar_price",
        aux_ref="lower_auction_collar_price",
        price="auction_collar_reference_price",
        qty="auction_collar_extension",
    ),
    TickKind.OPERATIONAL_HALT: TickFields(aux_ref="market_code", detail="operational_halt_action"),
    TickKind.ADD: _of_order(),
    TickKind.ADD_WITH_MPID: _of_order(aux_ref="attribution"),
    TickKind.EXECUTED: TickFields(
        order_ref="order_reference_number", aux_ref="match_number", qty="executed_shares", flags=TickFlag.PRINTABLE
    ),
    TickKind.EXECUTED_WITH_PRICE: TickFields(
        order_ref="order_reference_number",
        aux_ref="match_number",
        price="execution_price",
        qty="executed_shares",
        detail="printable",
    ),
    TickKind.CANCEL: TickFields(order_ref="order_reference_number", qty="cancelled_shares"),
    TickKind.DELETE: TickFields(order_ref="order_reference_number"),
    TickKind.REPLACE: TickFields(
        order_ref="original_order_reference_number", aux_ref="new_order_reference_number", qty="shares", price="price"
    ),
    TickKind.TRADE: _of_order(aux_ref="match_number", flags=TickFlag.PRINTABLE),
    TickKind.CROSS_TRADE: TickFields(aux_ref="match_number", price="cross_price", qty="shares", detail="cross_type"),
    TickKind.BROKEN_TRADE: TickFields(aux_ref="match_number"),
    TickKind.IMBALANCE: TickFields(
        aux_ref="imbalance_shares",
        price="current_reference_price",
        qty="paired_shares",
        side="imbalance_direction",
        detail="cross_type",
    ),
    TickKind.RETAIL_INTEREST: TickFields(detail="interest_flag"),
    TickKind.DIRECT_LISTING: TickFields(
        order_ref="minimum_allowable_price",
        aux_ref="maximum_allowable_price",
        price="near_execution_price",
        detail="open_eligibility_status",
    ),
}
"""Text in ``order_ref`` or ``aux_ref`` (MPID, halt reason, market code) is its ASCII bytes, big-endian; R's symbol is
little-endian (``symbol_to_ref``). The levels of V are cut to 4 decimals."""

HEADER_LENGTH: Final = np.dtype(list(_HEADER)).itemsize
LENGTHS: Final[npt.NDArray[np.uint8]] = np.zeros(256, np.uint8)
"""Message length in bytes by type; 0 for what is no message type."""
for _kind, _dtype in MESSAGES.items():
    LENGTHS[_kind] = _dtype.itemsize

# Columns of the field table. A field is read as the low bytes of the 8-byte big-endian word that ends with it: no read
# passes the end of a message, and an absent field is a word with mask 0.
COL_REF, COL_AUX, COL_PRICE, COL_QTY = 0, 2, 4, 6  # offset of the word; the next column is the field's width
COL_SIDE, COL_DETAIL = 8, 10  # offset of the byte; the next column is its mask
COL_FLAGS, COL_MARKET_WIDE, COL_SPECIAL = 12, 13, 14
_WORD: Final = 8


def _special(kind: TickKind) -> bool:
    """Whether the kernel has more to do for this type than to move fields."""
    return kind in {
        TickKind.SYSTEM_EVENT,
        TickKind.STOCK_DIRECTORY,
        TickKind.MWCB_DECLINE,
        TickKind.EXECUTED_WITH_PRICE,
        TickKind.CROSS_TRADE,
        TickKind.IMBALANCE,
    }


def _field_table() -> npt.NDArray[np.uint8]:
    table = np.zeros((256, 16), np.uint8)
    for kind, fields in TICK_FIELDS.items():
        places: Any = MESSAGES[kind].fields
        row = table[kind]
        words = ((COL_REF, fields.order_ref), (COL_AUX, fields.aux_ref), (COL_PRICE, fields.price))
        for column, name in (*words, (COL_QTY, fields.qty)):
            if name:
                dtype, offset = places[name][:2]
                row[column] = offset + dtype.itemsize - _WORD
                row[column + 1] = dtype.itemsize
        for column, name in ((COL_SIDE, fields.side), (COL_DETAIL, fields.detail)):
            if name:
                row[column] = places[name][1]
                row[column + 1] = 0xFF
        row[COL_FLAGS] = fields.flags
        row[COL_MARKET_WIDE] = fields.market_wide
        row[COL_SPECIAL] = _special(kind)
    return table


FIELD_TABLE: Final = _field_table()
WIDTH_MASKS: Final = np.array([(1 << 8 * width) - 1 for width in range(9)], np.uint64)
E8_PER_E4: Final = 10_000
