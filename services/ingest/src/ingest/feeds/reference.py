"""Reference file: a CSV that says of a source's symbols what the fleet calls them, their scales, ticks and lots.

Columns: ``source_symbol`` and any of ``symbol``, ``price_decimals``, ``qty_decimals``, ``tick``, ``lot``,
``round_lot``, ``currency``, ``venue``, ``locate``. ``tick``, ``lot`` and ``round_lot`` are decimal numbers, in units of
the source.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.feeds import FeedUnavailable, Listing, decimals_of, scaled

LOCATES: Final = 1 << 16
"""Stock locate codes have 16 bits."""
COLUMNS: Final = (
    *("source_symbol", "symbol", "price_decimals", "qty_decimals"),
    *("tick", "lot", "round_lot", "currency", "venue", "locate"),
)


@dataclass(frozen=True, slots=True)
class ReferenceRow:
    """One line. ``locate``: the code by which a feed of locate codes names the instrument, 0 if it has none."""

    symbol: str
    listing: Listing
    locate: int = 0


def read_reference(path: Path) -> dict[str, ReferenceRow]:
    """By source symbol. Raises FeedUnavailable, which names the line, for a file that is not as said above."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            unknown = set(rows.fieldnames or ()) - set(COLUMNS)
            if unknown or "source_symbol" not in (rows.fieldnames or ()):
                raise FeedUnavailable(f"{path} has columns {rows.fieldnames}, not of {COLUMNS}")
            return {row["source_symbol"]: _row(path, rows.line_num, row) for row in rows}
    except (OSError, UnicodeDecodeError) as error:
        raise FeedUnavailable(f"reference file {path}: {error}") from error


def _row(path: Path, line: int, row: dict[str, str | None]) -> ReferenceRow:
    given = {name: value.strip() for name, value in row.items() if value and value.strip()}
    try:
        tick, lot, round_lot = given.get("tick", ""), given.get("lot", ""), given.get("round_lot", "")
        price_decimals = int(given.get("price_decimals", max(4, decimals_of(tick))))
        qty_decimals = int(given.get("qty_decimals", decimals_of(lot)))
        listing = Listing(
            price_decimals=price_decimals,
            qty_decimals=qty_decimals,
            tick=_units(tick, price_decimals),
            lot=_units(lot, qty_decimals),
            round_lot=_units(round_lot or lot, qty_decimals),
            currency=given.get("currency", "USD"),
            venue=given.get("venue", "XNAS"),
        )
        locate = int(given.get("locate", "0"))
        if not 0 <= locate < LOCATES:
            raise ValueError(f"locate {locate} is none: those are below {LOCATES}")
        return ReferenceRow(given.get("symbol", given["source_symbol"]), listing, locate)
    except (ValueError, KeyError) as error:
        raise FeedUnavailable(f"reference file {path}, line {line}: {error}") from error


def _units(text: str, decimals: int) -> int:
    value = scaled(text, decimals) if text else 1
    if value is None or value < 1:
        raise ValueError(f"{text!r} is no positive number of {decimals} decimals")
    return value
