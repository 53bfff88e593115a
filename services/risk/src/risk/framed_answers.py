"""Decisions and ledger entries of a run as framed records (Avro), straight from the columns of what was decided.

What is hashed of an entry stays its JSON: a framed entry carries the hash of the text that it stands for, and whoever
verifies the chain makes that text of it again.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from common.avro.compiled import Encoded, SchemaUnsupported, Writer, writer
from common.columns import Column
from common.contracts.events import CASH
from common.contracts.topics import RISK_DECISIONS, RISK_LEDGER
from common.contracts.values import OrderType, Side, TimeInForce

from risk.domain.account import Mark
from risk.domain.framed_kernel import MARK, ORDER_NAMES_CHARS, fill_decisions, fill_entries
from risk.domain.gate_kernel import Decided
from risk.domain.intent_kernel import Intents
from risk.domain.text_kernel import Array
from risk.framed import file_of, framing_of

NUMBERS: Final = {"intent.side": Side, "intent.order_type": OrderType, "intent.time_in_force": TimeInForce}
"""Enums whose symbols have the numbers that the kernel writes: the first is what an intent is not flagged to be, and a
time in force is a number in the columns, too."""
_NO_MARK: Final = (0,) * len(Mark._fields)
_CASH: Final = np.frombuffer(CASH.encode(), np.uint8)


class FramedRun(NamedTuple):
    """The orders of a run as they were asked; see ``gate_kernel.Inputs``."""

    intents: Intents
    market_of: Array
    texts: Array
    marks: Sequence[Mark | None]
    """Marks of the markets, in their order."""
    run: Array
    offsets: Array


class FramedAnswers:
    """The writers. Raises SchemaUnsupported where a schema says something else than what the kernel fills."""

    def __init__(self) -> None:
        decisions, entries = file_of(RISK_DECISIONS), file_of(RISK_LEDGER)
        self._framing = framing_of(RISK_DECISIONS)
        self._decision_id, self._entry_id = decisions.id, entries.id
        self._decisions = decision_writer(decisions.schema())
        self._entries = entry_writer(entries.schema())

    def answers(self, of: FramedRun, decided: Decided, others: Sequence[bytes], heads: bytes) -> tuple[Column, Column]:
        """The decision on each intent, in the places of what was not accepted the ``others``, and the entries.

        ``others`` are text, ``heads`` the hashes of the entries.
        """
        accepted = decided.orders["accepted"]
        which = np.flatnonzero(accepted)
        rows = np.empty(which.size, self._decisions.row)
        names = np.empty(which.size * ORDER_NAMES_CHARS, np.uint8)
        marks = np.array([_NO_MARK if mark is None else tuple(mark) for mark in of.marks], MARK)
        source, intents, orders = of.intents.text, of.intents.rows, decided.orders
        end = fill_decisions(
            source, intents, orders, which, of.market_of, of.texts, marks, of.run, of.offsets, names, rows
        )
        decisions = self._decisions.write(rows, names, self._decision_id)
        hashes = np.frombuffer(heads.hex().encode(), np.uint8)
        text = np.concatenate((names[:end], hashes, _CASH))
        links = np.empty(which.size, self._entries.row)
        fill_entries(intents, orders, which, of.run, rows, end, text.size - _CASH.size, text.size, links)
        entries = self._entries.write(links, text, self._entry_id)
        framed = [self._framing.framed(text) for text in others]
        return placed(decisions, accepted, framed), Column(entries.data, _begins(entries.ends), entries.ends)


def placed(decisions: Encoded, accepted: Array, others: Sequence[bytes]) -> Column:
    """Each in its place."""
    begins, ends = np.empty(len(accepted), np.int64), np.empty(len(accepted), np.int64)
    lengths = np.fromiter(map(len, others), np.int64, len(others))
    begins[accepted], ends[accepted] = _begins(decisions.ends), decisions.ends
    ends[~accepted] = decisions.data.size + np.cumsum(lengths)
    begins[~accepted] = ends[~accepted] - lengths
    return Column(np.concatenate((decisions.data, np.frombuffer(b"".join(others), np.uint8))), begins, ends)


def _begins(ends: Array) -> Array:
    """Begins of texts that stand one behind the other, by their ends."""
    return np.concatenate((np.zeros(1, np.int64), ends))[:-1]


def decision_writer(schema: Any) -> Writer:
    """Writer of decisions on orders that are accepted."""
    made = writer(
        schema,
        branch="Decision",
        constants={
            "type": "decision", "accepted": True, "reason": None, "compared": {}, "conflict": None, "repeat": False,
        },
        given=("instrument_id", "protection_price_e4", "mark"),
        columns={"intent.account_id": "account_id", "intent.client_order_id": "client_order_id"},
    )  # fmt: skip
    for path, symbols in NUMBERS.items():
        if made.symbols[path][: len(symbols)] != tuple(symbols):
            raise SchemaUnsupported(f"{path}: its first symbols are {made.symbols[path][: len(symbols)]}")
    return made


def entry_writer(schema: Any) -> Writer:
    """Writer of the ledger's entries of reservations."""
    return writer(
        schema,
        constants={
            "kind": "RESERVE", "postings.0.book": "AVAILABLE", "postings.1.book": "RESERVED",
            "command_id": None, "execution_id": None,
        },
        given=("order_id", "chain_seq", "chain"),
        columns={"postings.1.asset": "postings.0.asset"},
        lengths={"postings": 2},
    )  # fmt: skip
