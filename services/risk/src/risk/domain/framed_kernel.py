"""Outputs of accepted orders, as rows of the writers of framed records (``common.avro.compiled``).

The names that those rows point into stand in one text: of each order its id, which its account and its client's id are
parts of, and its symbol; behind all of them the hashes of the ledger's entries, and the name of cash.
"""

from typing import Final

import numpy as np
from common.kernels import write_piece

from risk.domain.answer_kernel import HEX_CHARS, NAME_CHARS
from risk.domain.intent_kernel import ACCOUNT_AT, SYMBOL_CHARS
from risk.kernels import kernel

ORDER_NAMES_CHARS: Final = NAME_CHARS + SYMBOL_CHARS
"""Most characters of the names in one order."""
MARK: Final = np.dtype(
    [
        ("partition", "<i8"),
        ("offset", "<i8"),
        ("bid_e4", "<i8"),
        ("ask_e4", "<i8"),
        ("last_e4", "<i8"),
        ("event_ns", "<i8"),
        ("clock_ns", "<i8"),
    ]
)
"""``account.Mark``."""
_DOT: Final = ord(".")


@kernel
def fill_decisions(source, intents, orders, which, market_of, texts, marks, runs, offsets, names, rows):
    """Fills a row for each order of ``which``. Returns where its names end."""
    run = runs[0]
    at = np.int64(0)
    for k in range(which.size):
        i = which[k]
        intent, order, row, mark = intents[i], orders[i], rows[k], marks[market_of[i]]
        row["account_id.begin"] = row["order_id.begin"] = at
        at = write_piece(names, at, source, intent.begin + ACCOUNT_AT, intent.account_end)
        row["account_id.end"] = at
        names[at] = _DOT
        row["client_order_id.begin"] = at + 1
        at = write_piece(names, at + 1, source, intent.client_begin, intent.client_end)
        row["client_order_id.end"] = row["order_id.end"] = row["intent.symbol.begin"] = at
        at = write_piece(names, at, source, intent.symbol_begin, intent.symbol_begin + intent.symbol_length)
        row["intent.symbol.end"] = at
        row["intent.side"] = intent.sell
        row["intent.order_type"] = intent.is_market
        row["intent.time_in_force"] = intent.time_in_force
        row["intent.qty"] = intent.qty
        row["intent.limit_price_e4.given"] = intent.priced
        row["intent.limit_price_e4"] = intent.limit_price_e4
        row["intent.sent_ns"] = intent.sent_ns
        row["intent.min_qty.given"] = intent.has_min
        row["intent.min_qty"] = intent.min_qty
        row["intent.expire_ns.given"] = intent.expires
        row["intent.expire_ns"] = intent.expire_ns
        row["instrument_id"] = texts[market_of[i]].instrument_id
        row["reserved_cash_e4"] = 0 if intent.sell else order.amount
        row["reserved_qty"] = order.amount if intent.sell else 0
        row["protection_price_e4"] = order.price_e4
        row["mark.partition"] = mark.partition
        row["mark.offset"] = mark.offset
        row["mark.bid_e4"] = mark.bid_e4
        row["mark.ask_e4"] = mark.ask_e4
        row["mark.last_e4"] = mark.last_e4
        row["mark.event_ns"] = mark.event_ns
        row["mark.clock_ns"] = mark.clock_ns
        row["account_seq"] = order.account_seq + 1
        row["decided_ns"] = run.now_ns
        row["intent_partition"] = run.partition
        row["intent_offset"] = offsets[i]
    return at


@kernel
def fill_entries(intents, orders, which, runs, decisions, hashes_at, cash_at, cash_end, rows):
    """Fills a row for each order of ``which``, whose ``decisions`` are filled."""
    run = runs[0]
    for k in range(which.size):
        intent, order, row, decision = intents[which[k]], orders[which[k]], rows[k], decisions[k]
        row["account_id.begin"], row["account_id.end"] = decision["account_id.begin"], decision["account_id.end"]
        row["seq"] = order.account_seq + 1
        if intent.sell:
            row["postings.0.asset.begin"] = decision["intent.symbol.begin"]
            row["postings.0.asset.end"] = decision["intent.symbol.end"]
        else:
            row["postings.0.asset.begin"], row["postings.0.asset.end"] = cash_at, cash_end
        row["postings.0.amount"] = -order.amount
        row["postings.1.amount"] = order.amount
        row["order_id.begin"], row["order_id.end"] = decision["order_id.begin"], decision["order_id.end"]
        row["booked_ns"] = run.now_ns
        row["chain_seq"] = run.chain_seq + k + 1
        row["chain.begin"] = hashes_at + HEX_CHARS * k
        row["chain.end"] = hashes_at + HEX_CHARS * (k + 1)
