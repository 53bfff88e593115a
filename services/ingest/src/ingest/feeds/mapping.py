"""Mapping file of the feeds ``csv`` and ``parquet``: a TOML file that says which column is what.

kind = "trades"                  # or "quotes"
time = "ts"                      # column of the exchange's time
time_unit = "ns"                 # ns, us, ms, s, or iso: 2024-01-02T15:00:00.123456789-05:00; without a zone it is UTC
symbol = "ticker"                # a column; or symbol_value = "ACME" for all rows
price = "px"                     # trades
qty = "size"
bid = "bp"                       # quotes, with bid_qty, ask, ask_qty
price_decimals = 4               # of instruments that no reference file names
qty_decimals = 0
delimiter = ","                  # csv
"""

import re
import tomllib
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from common.feeds import FeedUnavailable, Listing, scaled

from ingest.feeds.capture_scale import E4_DECIMALS

TRADES, QUOTES = "trades", "quotes"
UNITS: Final = {"ns": 9, "us": 6, "ms": 3, "s": 0, "iso": 9}
"""Decimals behind the second that one unit is."""
_COLUMNS: Final = {TRADES: ("price", "qty"), QUOTES: ("bid", "bid_qty", "ask", "ask_qty")}
_NUMBERS: Final = {"price_decimals": range(E4_DECIMALS, 19), "qty_decimals": range(19)}
"""Keys that are numbers, and what they may be."""
_KEYS: Final = frozenset(
    {"kind", "time", "time_unit", "symbol", "symbol_value", "price_decimals", "qty_decimals", "delimiter", "venue"}
)
_ISO: Final = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:?\d\d)?$")


@dataclass(frozen=True, slots=True)
class Mapping:
    """``columns``: those of the numbers, in the order of their kind."""

    kind: str
    time: str
    time_unit: str
    symbol: str
    symbol_value: str
    columns: tuple[str, ...]
    listing: Listing
    delimiter: str

    @property
    def needed(self) -> tuple[str, ...]:
        """Every column that is read: time, symbol if it is one, then the numbers."""
        return (self.time, *((self.symbol,) if self.symbol else ()), *self.columns)


def read_mapping(path: Path) -> Mapping:
    """Raises FeedUnavailable, which says what is wrong in it."""
    try:
        with path.open("rb") as file:
            said: dict[str, Any] = tomllib.load(file)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FeedUnavailable(f"mapping file {path}: {error}") from error
    if fault := _fault(said):
        raise FeedUnavailable(f"mapping file {path}: {fault}")
    return Mapping(
        said["kind"],
        said["time"],
        said.get("time_unit", "ns"),
        said.get("symbol", ""),
        said.get("symbol_value", ""),
        tuple(said[name] for name in _COLUMNS[said["kind"]]),
        Listing(said.get("price_decimals", E4_DECIMALS), said.get("qty_decimals", 0), venue=said.get("venue", "XXXX")),
        said.get("delimiter", ","),
    )


def _fault(said: dict[str, Any]) -> str:
    """The first thing that is wrong; empty where nothing is."""
    for name, value in said.items():
        wanted = _NUMBERS.get(name)
        if wanted is None and not isinstance(value, str):
            return f"{name} is {value!r}, not a text"
        if wanted is not None and not (isinstance(value, int) and value in wanted):
            return f"{name} is {value!r}, not a number from {wanted[0]} to {wanted[-1]}"
    kind, unit, delimiter = said.get("kind"), said.get("time_unit", "ns"), said.get("delimiter", ",")
    if kind not in _COLUMNS:
        return f"kind is {kind!r}, not one of {', '.join(_COLUMNS)}"
    if unknown := said.keys() - _KEYS - set(_COLUMNS[kind]):
        return f"{', '.join(sorted(unknown))} is nothing that {kind} have"
    missing = [name for name in ("time", *_COLUMNS[kind]) if not said.get(name)]
    if not said.get("symbol") and not said.get("symbol_value"):
        missing.append("symbol")
    if missing:
        return f"{', '.join(missing)} is missing"
    if unit not in UNITS:
        return f"time_unit is {unit!r}, not one of {', '.join(UNITS)}"
    return "" if len(delimiter) == 1 else f"delimiter is {delimiter!r}, not one character"


def time_ns(text: str, unit: str) -> int:
    """The time of a row, ns since the epoch. Raises ValueError."""
    if unit == "iso":
        return _iso_ns(text)
    value = scaled(text, 9 - UNITS[unit])
    if value is None:
        raise ValueError(f"time {text!r} in {unit}")
    return value


def _iso_ns(text: str) -> int:
    found = _ISO.match(text.strip())
    if found is None:
        raise ValueError(f"time {text!r} is not ISO 8601")
    day, clock, fraction, zone = found.groups()
    at = datetime.fromisoformat(f"{day}T{clock}+00:00")
    if zone and zone != "Z":
        minutes = int(zone[1:3]) * 60 + int(zone[-2:])
        at -= timedelta(minutes=-minutes if zone[0] == "-" else minutes)
    return int(at.timestamp()) * 10**9 + int((fraction or "").ljust(9, "0"))
