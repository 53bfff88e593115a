"""Writes a generated day as a file of ITCH 5.0, or as a capture of its line, damaged on request, with the truth."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np

from ingest.domain.anomalies import Report
from ingest.domain.capture_writer import PCAP_HEADER, mold_end, pcap_record
from ingest.domain.damage import Damage, Packet, Truth, damaged
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from ingest.domain.feed_date import session_midnight_ns
from ingest.domain.framing import Block, Framer
from ingest.domain.rate_plan import Warp, parse_plan

SESSION: Final = "TIDEMARK01"
PACKET_MESSAGES_MAX: Final = 20
PACKET_NS: Final = 1_000_000
"""Messages further apart than this are not in one packet."""
_STAMP: Final = np.arange(5, 11)


@dataclass(frozen=True, slots=True)
class Generated:
    """A day to be generated. ``plan`` as in ``domain.rate_plan``; empty: the exchange's own burst and rate."""

    exchange: ExchangeOptions
    day: date
    plan: str = ""
    damage: Damage | None = None


def write_day(path: Path, wanted: Generated) -> Truth:
    """A capture where the name ends in .pcap, else a file of framed messages. Raises RatePlanError, OSError.

    The truth of a capture is written to ``<path>.truth.json``.
    """
    blocks = planned(wanted)
    truth = Truth()
    with path.open("wb") as file:
        if path.suffix != ".pcap":
            for block in blocks:
                truth.messages += len(block)
                file.write(block.data.tobytes())
            return truth
        file.write(PCAP_HEADER)
        midnight_ns = session_midnight_ns(wanted.day)
        last_ns = midnight_ns
        for time_ns, datagram in damaged(packets(blocks, midnight_ns), wanted.damage or Damage(), truth, SESSION):
            last_ns = time_ns
            file.write(pcap_record(time_ns, datagram))
        file.write(pcap_record(last_ns, mold_end(SESSION, truth.messages + 1)))
    path.with_name(path.name + ".truth.json").write_text(json.dumps(truth.said()) + "\n")
    return truth


def write_venues(path: Path, wanted: Generated, venues: Sequence[str]) -> dict[Path, Truth]:
    """A file of each venue, ``NAME.VENUE.pcap``. Together they have the planned rate: stocks and first prices are the
    same, orders and trades each venue's own. Raises RatePlanError, OSError.
    """
    written = {}
    for number, venue in enumerate(venues):
        exchange = replace(wanted.exchange, venue=number, rate=max(1, wanted.exchange.rate // len(venues)))
        segments = parse_plan(wanted.plan, wanted.exchange.rate) if wanted.plan else ()
        shared = ",".join(segment.shared(len(venues)) for segment in segments)
        file = path.with_name(f"{path.stem}.{venue}{path.suffix}")
        written[file] = write_day(file, replace(wanted, exchange=exchange, plan=shared))
    return written


def planned(wanted: Generated) -> Iterator[Block]:
    """The day's messages with the stamps of the plan."""
    options, warp = wanted.exchange, None
    if wanted.plan:
        segments = parse_plan(wanted.plan, options.rate)
        warp = Warp(segments, options.rate, options.open_ns)
        seconds = max(1, round(warp.events / options.rate))
        options = replace(options, duration_s=seconds, burst=1)
    framer = Framer(Report())
    for chunk in exchange_chunks(options):
        for block in framer.feed(chunk):
            yield block if warp is None else _warped(block, warp)


def _warped(block: Block, warp: Warp) -> Block:
    data = block.data.copy()
    places = block.starts[:, None].astype(np.int64) + _STAMP
    stamps = np.zeros((len(block), 8), np.uint8)
    stamps[:, 2:] = data[places]
    moved = warp.stamps(stamps.view(">i8").ravel().astype(np.int64))
    data[places] = moved.astype(">i8").view(np.uint8).reshape(-1, 8)[:, 2:]
    return replace(block, data=data)


def packets(blocks: Iterator[Block], midnight_ns: int) -> Iterator[Packet]:
    """Messages put together as a line sends them: up to twenty, of the same millisecond."""
    held, first, began = list[bytes](), 1, 0
    for block in blocks:
        raw = block.data.tobytes()
        for start, length in zip(block.starts.tolist(), block.lengths.tolist(), strict=True):
            message = raw[start : start + length]
            stamp = int.from_bytes(message[5:11], "big")
            if held and (len(held) == PACKET_MESSAGES_MAX or stamp - began > PACKET_NS):
                yield midnight_ns + began, first, held
                first += len(held)
                held = []
            if not held:
                began = stamp
            held.append(message)
    if held:
        yield midnight_ns + began, first, held
