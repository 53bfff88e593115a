"""Records of an accepted order, written as text: its decision, its ledger entry, its row.

Byte for byte what ``risk.wire`` and the row codec make of the same order, which a test compares. Each writer returns
the position after what it wrote, and each has a bound on how much that can be.
"""

from typing import Final

import numpy as np
from common.contracts.events import CASH
from common.contracts.values import TIMES_IN_FORCE
from common.kernels import write_piece

from risk.domain.intent_kernel import ACCOUNT_AT, ACCOUNT_CHARS, CLIENT_CHARS, SYMBOL_CHARS
from risk.domain.text_kernel import INTEGER_CHARS, piece, write_integer, write_packed
from risk.kernels import kernel, part

NAME_CHARS: Final = ACCOUNT_CHARS + 1 + CLIENT_CHARS
HEX_CHARS: Final = 64
TEXTS: Final = np.dtype(
    [
        ("instrument_id", "<i8"),
        ("mark_begin", "<i8"),  # in ``marks``: the mark as a decision has it
        ("mark_end", "<i8"),
        ("packed_begin", "<i8"),  # and as a row has it
        ("packed_end", "<i8"),
    ]
)
"""Fields of a symbol in answers."""
_DOT: Final = ord(".")
_QUOTE: Final = ord('"')
_CLOSE: Final = ord("}")

# --- the decision -------------------------------------------------------------------------------------------------

_DECISION: Final = piece('{"type":"decision","account_id":"')
_CLIENT_ORDER_ID: Final = piece('","client_order_id":"')
_ORDER_ID: Final = piece('","order_id":"')
_ACCEPTED: Final = piece('","accepted":true,"compared":{},"repeat":false,"intent":')
_INSTRUMENT: Final = piece(',"instrument_id":')
_RESERVED_CASH: Final = piece(',"reserved_cash_e4":')
_RESERVED_QTY: Final = piece(',"reserved_qty":')
_PROTECTION: Final = piece(',"protection_price_e4":')
_MARK: Final = piece(',"mark":')
_ACCOUNT_SEQ: Final = piece(',"account_seq":')
_DECIDED: Final = piece(',"decided_ns":')
_PARTITION: Final = piece(',"intent_partition":')
_OFFSET: Final = piece(',"intent_offset":')
_DECISION_PIECES: Final = (
    _DECISION, _CLIENT_ORDER_ID, _ORDER_ID, _ACCEPTED, _INSTRUMENT, _RESERVED_CASH, _RESERVED_QTY, _PROTECTION, _MARK,
    _ACCOUNT_SEQ, _DECIDED, _PARTITION, _OFFSET,
)  # fmt: skip
DECISION_CHARS: Final = sum(map(len, _DECISION_PIECES)) + 2 * NAME_CHARS + 8 * INTEGER_CHARS + 1
"""At most, without the intent and its mark."""

# --- the entry ----------------------------------------------------------------------------------------------------

_ENTRY: Final = piece('{"account_id":"')
_SEQ: Final = piece('","seq":')
_RESERVE: Final = piece(',"kind":"RESERVE","postings":[{"book":"AVAILABLE","asset":"')
_AMOUNT: Final = piece('","amount":')
_TO: Final = piece('},{"book":"RESERVED","asset":"')
_OF_ORDER: Final = piece('}],"order_id":"')
_BOOKED: Final = piece('","booked_ns":')
_CHAIN_SEQ: Final = piece(',"chain_seq":')
_CHAIN: Final = piece(',"chain":"')
_CASH: Final = piece(CASH)
_ENTRY_PIECES: Final = (
    _ENTRY, _SEQ, _RESERVE, _AMOUNT, _TO, _AMOUNT, _OF_ORDER, _BOOKED, _CHAIN_SEQ, _CHAIN,
)  # fmt: skip
ENTRY_CHARS: Final = (
    sum(map(len, _ENTRY_PIECES)) + 2 * NAME_CHARS + 2 * SYMBOL_CHARS + 5 * INTEGER_CHARS + HEX_CHARS + 2
)
_HEX: Final = piece("0123456789abcdef")

# --- the row ------------------------------------------------------------------------------------------------------

_ARRAY_OF_19: Final = np.frombuffer(b"\xdc\x00\x13", np.uint8)
_TEXT: Final = 0xA0
"""MessagePack's text of up to 31 bytes, plus its length."""
_BUY_LIMIT: Final = np.frombuffer(b"\xa1B\xa5LIMIT", np.uint8)
_BUY_MARKET: Final = np.frombuffer(b"\xa1B\xa6MARKET", np.uint8)
_SELL_LIMIT: Final = np.frombuffer(b"\xa1S\xa5LIMIT", np.uint8)
_SELL_MARKET: Final = np.frombuffer(b"\xa1S\xa6MARKET", np.uint8)
_TIMES: Final = np.array([np.frombuffer(b"\xa3" + each.encode(), np.uint8) for each in TIMES_IN_FORCE])
"""By their numbers."""
_NIL: Final = 0xC0
_EMPTY_MAP: Final = 0x80
_TRUE: Final = 0xC3
PACKED_INTEGER_BYTES: Final = 9
ROW_BYTES: Final = 3 + 1 + SYMBOL_CHARS + len(_SELL_MARKET) + len(_TIMES[0]) + 3 + 11 * PACKED_INTEGER_BYTES
"""At most, without its mark."""


@part
def _write_order_id(text, at, source, intent):
    at = write_piece(text, at, source, intent.begin + ACCOUNT_AT, intent.account_end)
    text[at] = _DOT
    return write_piece(text, at + 1, source, intent.client_begin, intent.client_end)


@part
def write_decision(text, at, source, intent, order, mark, marks, run, offset):
    at = write_piece(text, at, _DECISION, 0, _DECISION.size)
    at = write_piece(text, at, source, intent.begin + ACCOUNT_AT, intent.account_end)
    at = write_piece(text, at, _CLIENT_ORDER_ID, 0, _CLIENT_ORDER_ID.size)
    at = write_piece(text, at, source, intent.client_begin, intent.client_end)
    at = write_piece(text, at, _ORDER_ID, 0, _ORDER_ID.size)
    at = _write_order_id(text, at, source, intent)
    at = write_piece(text, at, _ACCEPTED, 0, _ACCEPTED.size)
    at = write_piece(text, at, source, intent.begin, intent.end)
    at = write_piece(text, at, _INSTRUMENT, 0, _INSTRUMENT.size)
    at = write_integer(text, at, mark.instrument_id)
    at = write_piece(text, at, _RESERVED_CASH, 0, _RESERVED_CASH.size)
    at = write_integer(text, at, np.int64(0) if intent.sell else order.amount)
    at = write_piece(text, at, _RESERVED_QTY, 0, _RESERVED_QTY.size)
    at = write_integer(text, at, order.amount if intent.sell else np.int64(0))
    at = write_piece(text, at, _PROTECTION, 0, _PROTECTION.size)
    at = write_integer(text, at, order.price_e4)
    at = write_piece(text, at, _MARK, 0, _MARK.size)
    at = write_piece(text, at, marks, mark.mark_begin, mark.mark_end)
    at = write_piece(text, at, _ACCOUNT_SEQ, 0, _ACCOUNT_SEQ.size)
    at = write_integer(text, at, order.account_seq + 1)
    at = write_piece(text, at, _DECIDED, 0, _DECIDED.size)
    at = write_integer(text, at, run.now_ns)
    at = write_piece(text, at, _PARTITION, 0, _PARTITION.size)
    at = write_integer(text, at, run.partition)
    at = write_piece(text, at, _OFFSET, 0, _OFFSET.size)
    at = write_integer(text, at, offset)
    text[at] = _CLOSE
    return at + 1


@part
def _write_asset(text, at, source, intent):
    if intent.sell:
        return write_piece(text, at, source, intent.symbol_begin, intent.symbol_begin + intent.symbol_length)
    return write_piece(text, at, _CASH, 0, _CASH.size)


@part
def write_entry(text, at, source, intent, order, run, chain_seq):
    """Up to its number in the chain, and closed there: so far it is hashed. ``write_links`` writes the rest."""
    at = write_piece(text, at, _ENTRY, 0, _ENTRY.size)
    at = write_piece(text, at, source, intent.begin + ACCOUNT_AT, intent.account_end)
    at = write_piece(text, at, _SEQ, 0, _SEQ.size)
    at = write_integer(text, at, order.account_seq + 1)
    at = write_piece(text, at, _RESERVE, 0, _RESERVE.size)
    at = _write_asset(text, at, source, intent)
    at = write_piece(text, at, _AMOUNT, 0, _AMOUNT.size)
    at = write_integer(text, at, -order.amount)
    at = write_piece(text, at, _TO, 0, _TO.size)
    at = _write_asset(text, at, source, intent)
    at = write_piece(text, at, _AMOUNT, 0, _AMOUNT.size)
    at = write_integer(text, at, order.amount)
    at = write_piece(text, at, _OF_ORDER, 0, _OF_ORDER.size)
    at = _write_order_id(text, at, source, intent)
    at = write_piece(text, at, _BOOKED, 0, _BOOKED.size)
    at = write_integer(text, at, run.now_ns)
    at = write_piece(text, at, _CHAIN_SEQ, 0, _CHAIN_SEQ.size)
    at = write_integer(text, at, chain_seq)
    text[at] = _CLOSE
    return at + 1


LINK_CHARS: Final = len(_CHAIN) + HEX_CHARS + 2 - 1
"""How much longer an entry is once it is linked: it was closed before."""


@kernel
def write_links(text, ends, heads):
    """Writes into each entry that was closed before ``ends[i]`` its hash, row ``i`` of ``heads`` (uint8[n, 32])."""
    for i in range(ends.size):
        at = write_piece(text, ends[i] - 1, _CHAIN, 0, _CHAIN.size)
        for byte in heads[i]:
            text[at] = _HEX[byte >> 4]
            text[at + 1] = _HEX[byte & 0xF]
            at += 2
        text[at] = _QUOTE
        text[at + 1] = _CLOSE


@part
def _write_given(text, at, given, number):
    if given:
        return write_packed(text, at, number)
    text[at] = _NIL
    return at + 1


@part
def write_row(text, at, source, intent, order, mark, marks, run):
    """``risk.domain.account.OrderRow``, field by field."""
    at = write_piece(text, at, _ARRAY_OF_19, 0, _ARRAY_OF_19.size)
    text[at] = _TEXT + intent.symbol_length
    at = write_piece(text, at + 1, source, intent.symbol_begin, intent.symbol_begin + intent.symbol_length)
    if intent.is_market:
        choices = _SELL_MARKET if intent.sell else _BUY_MARKET
        at = write_piece(text, at, choices, 0, choices.size)
    else:
        choices = _SELL_LIMIT if intent.sell else _BUY_LIMIT
        at = write_piece(text, at, choices, 0, choices.size)
    at = write_piece(text, at, _TIMES[intent.time_in_force], 0, _TIMES.shape[1])
    at = write_packed(text, at, intent.qty)
    at = _write_given(text, at, intent.priced, intent.limit_price_e4)
    text[at] = _NIL  # no reason
    text[at + 1] = _EMPTY_MAP  # nothing compared
    at = write_packed(text, at + 2, mark.instrument_id)
    at = write_packed(text, at, order.price_e4)
    at = write_piece(text, at, marks, mark.packed_begin, mark.packed_end)
    at = write_packed(text, at, order.account_seq + 1)
    at = write_packed(text, at, run.now_ns)  # decided
    at = write_packed(text, at, intent.qty)  # leaves
    text[at] = 0  # cum
    at = write_packed(text, at + 1, run.now_ns)  # touched
    text[at] = _TRUE  # counted
    at = _write_given(text, at + 1, intent.has_min, intent.min_qty)
    return _write_given(text, at, intent.expires, intent.expire_ns)
