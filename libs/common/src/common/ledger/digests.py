"""Digests of rows, column by column: the same number is made from a record of the log and, by SQL, from its copy.

Balances and states say whether money is right; everything else that a table shows (a kind, a text, a time, who was
denied and why) is compared by its digest. A digest is the first 60 bits of MD5 over the columns as PostgreSQL writes
them as text: it tells an edited row, and is no seal against who can compute it as well.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from common.contracts.events import CommandResult, Decision, ExecutionReport, LedgerEntry, OrderEvent

NULL: Final = "\x02"
SEPARATOR: Final = "\x1f"
_HEX: Final = 15
_MASK: Final = (1 << 64) - 1

EXECUTIONS: Final = (
    *("execution_id", "exec_type", "order_id", "account_id", "symbol", "side"),
    *("last_qty", "last_price_e4", "cum_qty", "leaves_qty", "venue_ns", "text"),
)
LEDGER_ENTRIES: Final = (
    *("account_id", "seq", "kind", "postings", "order_id", "command_id", "execution_id", "booked_ns"),
)
DECISIONS: Final = (
    *("account_id", "client_order_id", "order_id", "accepted", "reason", "compared", "conflict", "repeat"),
    *("reserved_cash_e4", "reserved_qty", "account_seq", "decided_ns", "intent_partition", "intent_offset"),
)
COMMAND_RESULTS: Final = (
    *("account_id", "command_id", "accepted", "reason", "compared", "repeat", "status", "account_seq", "decided_ns"),
    "resting",
)
ORDER_EVENTS: Final = (
    *("order_id", "revision", "state", "cum_qty", "leaves_qty", "notional_e4", "reason", "text", "updated_ns"),
)
COLUMNS: Final[Mapping[type[BaseModel], tuple[str, ...]]] = {
    ExecutionReport: EXECUTIONS,
    LedgerEntry: LEDGER_ENTRIES,
    Decision: DECISIONS,
    CommandResult: COMMAND_RESULTS,
    OrderEvent: ORDER_EVENTS,
}
"""The columns of the table that a record is copied to; a table has its own place in the log besides."""


def digest_sql(columns: Iterable[str]) -> str:
    """An SQL expression for the digest of a row, as a bigint."""
    texts = ", ".join(f"coalesce({column}::text, E'\\x02')" for column in columns)
    return f"('x' || substr(md5(concat_ws(E'\\x1f', {texts})), 1, {_HEX}))::bit({_HEX * 4})::bigint"


def digest_of(body: BaseModel) -> int:
    """The digest of the row that a record is copied to."""
    columns = COLUMNS[type(body)]
    text = SEPARATOR.join(_text(getattr(body, column)) for column in columns)
    return int(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:_HEX], 16)


def _text(value: Any) -> str:
    """A value as PostgreSQL writes it: ``::text`` of a text, a number, a boolean or a jsonb."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return str(value.value)
    return _jsonb(value) if isinstance(value, (Mapping, tuple)) else str(value)


def _jsonb(value: Any) -> str:
    """As jsonb does: keys by length, then by bytes, and a space after each colon and comma."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, Mapping):
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        return "{" + ", ".join(f"{_jsonb(key)}: {_jsonb(value[key])}" for key in keys) + "}"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(_jsonb, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


class Rows(NamedTuple):
    """All rows of a key: how many, and the sum of their digests."""

    number: int
    digests: int

    @classmethod
    def of(cls, number: int, total: int) -> "Rows":
        """From the sum of the digests, however large."""
        return cls(number, total & _MASK)


class RowSums:
    """A ``Truth`` of how many rows belong to a key and the sum of their digests; the version is their number.

    It is of the same size however many rows there are, and tells at any number of rows whether all of them are right.
    """

    is_historic: Final = False
    is_complete: Final = True

    def __init__(self) -> None:
        self._sums: dict[str, tuple[int, int]] = {}
        self._wanted: dict[str, set[int]] = {}
        self._remembered: dict[tuple[str, int], int] = {}

    def add(self, key: str, digest: int) -> None:
        """One row more."""
        count, total = self._sums.get(key, (0, 0))
        count, total = count + 1, total + digest & _MASK
        self._sums[key] = (count, total)
        if count in self._wanted.get(key, ()):
            self._remembered[key, count] = total

    def want(self, key: str, version: int) -> None:
        if version > self.newest(key):
            self._wanted.setdefault(key, set()).add(version)

    def known(self) -> Iterable[str]:
        return self._sums.keys()

    def newest(self, key: str) -> int:
        return self._sums.get(key, (0, 0))[0]

    def at(self, key: str, version: int) -> Rows | None:
        count, total = self._sums.get(key, (0, 0))
        known = total if count == version else self._remembered.get((key, version))
        return Rows(version, known) if known is not None else None

    def drop(self, key: str) -> None:
        """The key is not known any more."""
        self._sums.pop(key, None)

    def forget(self, key: str, version: int) -> None:
        """The sum at this number of rows is not wanted any more."""
        self._remembered.pop((key, version), None)
        wanted = self._wanted.get(key)
        if wanted is not None:
            wanted.discard(version)
            if not wanted:
                del self._wanted[key]


def summed(digests: Sequence[int]) -> Rows:
    """Rows with these digests, as ``RowSums`` has them."""
    return Rows.of(len(digests), sum(digests))
