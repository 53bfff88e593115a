"""A seeded synthetic exchange: valid ITCH 5.0 under length framing, for demos, tests and measurements.

The flow is consistent: executions take the oldest order at the best price, prices are on the tick, books do not cross,
replaced and cancelled orders live, nothing trades in a halt. Same options, same bytes, on every machine.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from common.contracts.ticks import TickKind

from ingest.domain.exchange_books import MARKET, OUT_BYTES, SYMBOLS_MAX, TICK_E4
from ingest.domain.exchange_flow import STEP_BYTES_MAX, Phase, run
from ingest.domain.itch_spec import MESSAGES

NS: Final = 1_000_000_000
OPEN_NS: Final = 34_200 * NS  # 09:30
TRADING_DAY_S: Final = 23_400  # until 16:00
PRE_OPEN_NS: Final = 2 * NS
BURST_NS: Final = 30 * NS
_PER_MILLION: Final = 1 << 20
_VOLATILITY_BP: Final = 2  # standard deviation over one second, 1e-4 of the price
_VOLATILITY_UNIT: Final = 6_615_600  # 1e4 bp x sqrt(20 slices a second) x 148 (deviation of the sum of four bytes)


@dataclass(frozen=True, slots=True)
class ExchangeOptions:
    """Character of the day. ``rate``: events per second of the exchange's time, on average after the opening burst."""

    symbols: int = 500
    seed: int = 1
    rate: int = 20_000
    open_ns: int = OPEN_NS
    """Start of trading, ns since midnight. The first message is two seconds earlier."""
    duration_s: int = TRADING_DAY_S
    messages: int = 0
    """Trading ends after so many messages if not earlier, and the closing auction follows. 0: no limit."""
    burst: int = 3
    halts_per_million: int = 4
    breaks_per_million: int = 50
    halt_s: int = 5
    venue: int = field(default=0, repr=False)
    """Venues of one seed list the same stocks at the same first prices, and each has orders and trades of its own."""

    def __post_init__(self) -> None:
        if not 1 <= self.symbols <= SYMBOLS_MAX:
            raise ValueError(f"symbols must be 1 to {SYMBOLS_MAX}, not {self.symbols}")
        if not 1 <= self.rate <= 100_000_000:
            raise ValueError(f"rate must be 1 to 100,000,000 events per second, not {self.rate}")
        if self.duration_s < 1 or self.burst < 1 or self.open_ns < PRE_OPEN_NS:
            raise ValueError("duration, burst and opening time must be positive")


def symbol_names(count: int) -> list[str]:
    """Distinct four-letter names that can be spoken, the most active first; the same whatever the seed."""
    consonants, vowels = "BCDFGHJKLMNPQRSTVWXZ", "AEIOU"
    names = []
    for index in range(count):
        rest = (index * 7_919 + 4_321) % 10_000  # a permutation: 7,919 and 10,000 have no common factor
        rest, a = divmod(rest, 20)
        rest, b = divmod(rest, 5)
        d, c = divmod(rest, 20)
        names.append(consonants[a] + vowels[b] + consonants[c] + vowels[d])
    return names


def exchange_chunks(options: ExchangeOptions, chunk_bytes: int = OUT_BYTES) -> Iterator[bytes]:
    """The day's messages, whole messages in each chunk. The concatenation does not depend on ``chunk_bytes``."""
    market = _market(options, min(max(chunk_bytes, 2 * STEP_BYTES_MAX), OUT_BYTES))
    yield _directory(options, int(market["clock_ns"]))
    while market["phase"] != Phase.OVER:
        run(market)
        yield market["out"][: market["at"]].tobytes()


def alias_table(weights: list[int]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32]]:
    """Walker's alias method (1977) in exact integers: column i keeps draws below ``limit[i]`` of 2**32."""
    count, total = len(weights), sum(weights)
    scaled = [weight * count for weight in weights]  # a column holds ``total``
    limit, alias = [1 << 32] * count, list(range(count))
    small = [i for i in range(count) if scaled[i] < total]
    large = [i for i in range(count) if scaled[i] >= total]
    while small and large:
        poor, rich = small.pop(), large[-1]
        limit[poor] = (scaled[poor] << 32) // total
        alias[poor] = rich
        scaled[rich] -= total - scaled[poor]
        if scaled[rich] < total:
            small.append(large.pop())
    return np.array(limit, np.uint64), np.array(alias, np.int32)


def _market(options: ExchangeOptions, chunk_bytes: int) -> Any:
    """State at the start of the day: one record of ``MARKET``."""
    count = options.symbols
    anchors = np.array([_first_price(options.seed, index) for index in range(count)], np.int64)
    limit, alias = alias_table([(1 << 40) // (rank + 2) for rank in range(count)])
    stocks = "".join(name.ljust(8) for name in symbol_names(count)).encode()
    start_ns = options.open_ns - PRE_OPEN_NS
    market = np.zeros(1, MARKET)[0]
    values = {
        "rng": _mixed(options.seed) ^ (_mixed(~options.venue) if options.venue else 0),
        "clock_ns": start_ns,
        "symbols": count,
        "out_limit": chunk_bytes - STEP_BYTES_MAX,
        "open_ns": options.open_ns,
        "close_ns": options.open_ns + options.duration_s * NS,
        "gap_ns_fp": NS * 256 // options.rate,
        "burst": options.burst,
        "burst_ns": BURST_NS,
        "messages_max": options.messages or 1 << 62,
        "halts": options.halts_per_million * _PER_MILLION // 1_000_000,
        "breaks": options.breaks_per_million * _PER_MILLION // 1_000_000,
        "halt_ns": options.halt_s * NS,
        "exponential": [round(-65_536 * math.log1p(-(i + 0.5) / 256)) for i in range(256)],
    }
    for name, value in values.items():
        market[name] = value
    market["fair_fp"][:count] = anchors << 16
    market["anchor"][:count] = anchors
    market["volatility_fp"][:count] = np.maximum(1, anchors * (_VOLATILITY_BP << 16) // _VOLATILITY_UNIT)
    market["walked_ns"][:count] = start_ns
    market["state"][:count] = ord("T")
    market["alias_limit"][:count] = limit
    market["alias"][:count] = alias
    market["stocks"][:count] = np.frombuffer(stocks, np.uint8).reshape(-1, 8)
    return market


def _mixed(word: int) -> int:
    """A seed spread over 64 bits, so that neighbouring seeds give unrelated streams."""
    return (word * 0xD1342543DE82EF95 + 0x2545F4914F6CDD1D) % (1 << 64)


def _first_price(seed: int, index: int) -> int:
    """5 to 640 dollars, in ticks: each doubling equally likely."""
    word = _mixed(_mixed(seed) ^ _mixed(index) >> 7)
    scale = 500 << (word >> 56) % 7
    return scale + (word >> 24) % scale


def _filled(kind: TickKind, locate: Any, stamp_ns: int, count: int = 1, **values: Any) -> npt.NDArray[Any]:
    """Messages of one type, each after its length; fields not named are spaces or zero."""
    dtype = MESSAGES[kind]
    out = np.zeros(count, np.dtype([("length", ">u2"), ("message", dtype)]))
    message = out["message"]
    for name in dtype.names or ():
        if dtype[name].kind == "S":
            message[name] = b" " * dtype[name].itemsize
    header = {
        "message_type": chr(kind).encode(),
        "stock_locate": locate,
        "timestamp_high": stamp_ns >> 32,
        "timestamp_low": stamp_ns & 0xFFFFFFFF,
    }
    for name, value in (header | values).items():
        message[name] = value
    out["length"] = dtype.itemsize
    return out


def _directory(options: ExchangeOptions, stamp_ns: int) -> bytes:
    """Start of the day: directory entry, trading and short-sale state of every symbol, then what only some have."""
    count = options.symbols
    locates = np.arange(1, count + 1)
    stocks = np.array([name.ljust(8).encode() for name in symbol_names(count)], "S8")
    per_symbol = [
        _filled(
            TickKind.STOCK_DIRECTORY,
            locates,
            stamp_ns,
            count,
            stock=stocks,
            market_category=b"Q",
            financial_status_indicator=b"N",
            round_lot_size=100,
            round_lots_only=b"N",
            issue_classification=b"C",
            issue_sub_type=b"Z",
            authenticity=b"T",
            short_sale_threshold_indicator=b"N",
            ipo_flag=b"N",
            luld_reference_price_tier=b"1",
            etp_flag=b"N",
            inverse_indicator=b"N",
        ),
        _filled(TickKind.TRADING_ACTION, locates, stamp_ns, count, stock=stocks, trading_state=b"T"),
        _filled(TickKind.REG_SHO, locates, stamp_ns, count, stock=stocks, reg_sho_action=b"0"),
    ]
    started = [_filled(TickKind.SYSTEM_EVENT, 0, stamp_ns, event_code=code).tobytes() for code in (b"O", b"S")]
    rows = [part.view(np.uint8).reshape(count, -1) for part in per_symbol]
    return b"".join([started[0], np.hstack(rows).tobytes(), *_exceptions(stocks, stamp_ns), started[1]])


def _exceptions(stocks: npt.NDArray[Any], stamp_ns: int) -> Iterator[bytes]:
    """Messages about only some symbols, or the whole market, at the start of a day."""
    places = {"primary_market_maker": b"Y", "market_maker_mode": b"N", "market_participant_state": b"A"}
    last, name = len(stocks), stocks[-1]
    parts = [
        _filled(
            TickKind.PARTICIPANT_POSITION,
            np.arange(1, len(stocks[:50]) + 1),
            stamp_ns,
            len(stocks[:50]),
            mpid=b"TIDE",
            stock=stocks[:50],
            **places,
        ),
        _filled(
            TickKind.MWCB_DECLINE, 0, stamp_ns, level_1=4_000 * 10**8, level_2=3_700 * 10**8, level_3=3_400 * 10**8
        ),
        _filled(
            TickKind.OPERATIONAL_HALT, 1, stamp_ns, stock=stocks[0], market_code=b"Q", operational_halt_action=b"T"
        ),
        _filled(
            TickKind.IPO_QUOTING,
            last,
            stamp_ns,
            stock=name,
            ipo_quotation_release_time=stamp_ns // NS,
            ipo_quotation_release_qualifier=b"A",
            ipo_price=20 * TICK_E4 * 100,
        ),
        _filled(
            TickKind.DIRECT_LISTING,
            last,
            stamp_ns,
            stock=name,
            open_eligibility_status=b"N",
            minimum_allowable_price=10 * TICK_E4 * 100,
            maximum_allowable_price=40 * TICK_E4 * 100,
        ),
    ]
    yield from (part.tobytes() for part in parts)
