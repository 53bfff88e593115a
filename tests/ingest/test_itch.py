"""The decoder against the specification, against itchcpp and against real messages."""

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common.contracts.reference import Instrument
from common.contracts.ticks import NO_INSTRUMENT, TICK, TickFlag, TickKind, offset_of, ref_to_symbol
from common.testing.listed_symbols import LISTED
from hypothesis import given
from hypothesis import strategies as st
from ingest.domain.anomalies import AnomalyKind, Report
from ingest.domain.framing import Framer, packet_block
from ingest.domain.instruments import InstrumentRegistry
from ingest.domain.itch import Decoder, records
from ingest.domain.itch_spec import LENGTHS, MESSAGES, TICK_FIELDS
from ingest.domain.moldudp64 import parse_packet
from ingest.domain.stamps import count_due, next_stamp
from itchcpp.messages import messages as itchcpp_messages
from itchcpp.parser import MessageParser

from tests.ingest.refused import undecoded

Decode = Callable[..., tuple[Any, Report, Decoder]]

# Section 1 of "Nasdaq TotalView-ITCH 5.0": type and length in bytes, written down by hand.
SPECIFIED = {"S": 12, "R": 39, "H": 25, "Y": 20, "L": 26, "V": 35, "W": 12, "K": 28, "J": 35, "h": 21, "A": 36, "F": 40}
SPECIFIED |= {"E": 31, "C": 36, "X": 23, "D": 19, "U": 35, "P": 44, "Q": 40, "B": 19, "I": 50, "N": 20, "O": 48}

# itchcpp's names of fields, where they are not the specification's.
ITCHCPP_NAMES = {
    "luld_reference_price_tier": "luld_ref",
    "level_1": "level1_price",
    "level_2": "level2_price",
    "level_3": "level3_price",
    "ipo_quotation_release_time": "ipo_release_time",
    "ipo_quotation_release_qualifier": "ipo_release_qualifier",
    "auction_collar_extension": "auction_collar_extention",
    "original_order_reference_number": "order_reference_number",
    "price_variation_indicator": "variation_indicator",
}


def test_lengths_when_compared_with_the_specification_then_equal() -> None:
    assert {chr(kind): int(length) for kind, length in enumerate(LENGTHS) if length} == SPECIFIED
    assert set(MESSAGES) == set(TICK_FIELDS) == set(TickKind) - {TickKind.HEARTBEAT, TickKind.BOOK_CLEAR}


def test_lengths_when_compared_with_itchcpp_then_equal() -> None:
    assert {key.decode(): cls.message_size for key, cls in itchcpp_messages.items()} == SPECIFIED


def _filled(kind: TickKind, seed: int) -> bytes:
    """A message with a different value in every field."""
    raw = bytearray(np.random.default_rng(seed).integers(0, 256, MESSAGES[kind].itemsize, np.uint8).tobytes())
    for name in MESSAGES[kind].names or ():
        dtype, offset = MESSAGES[kind][name], offset_of(MESSAGES[kind], name)
        if dtype.kind == "S":
            letters = bytes(65 + (seed * 7 + offset + i) % 26 for i in range(dtype.itemsize))
            raw[offset : offset + dtype.itemsize] = letters
    raw[0] = kind
    raw[5] = 0  # keeps the time within the day
    return bytes(raw)


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: chr(kind))
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_records_when_compared_with_itchcpp_then_every_field_is_equal(kind: TickKind, seed: int) -> None:
    raw = _filled(kind, seed)
    (theirs,) = MessageParser().parse_stream(len(raw).to_bytes(2, "big") + raw)
    block = packet_block(len(raw).to_bytes(2, "big") + raw, 1, 1)
    ours = records(block, kind)[0]
    assert (int(ours["timestamp_high"]) << 32 | int(ours["timestamp_low"])) == theirs.timestamp
    for name in MESSAGES[kind].names or ():
        if not name.startswith("timestamp"):
            value = ours[name].item()
            expected = getattr(theirs, ITCHCPP_NAMES.get(name, name))
            assert value == (expected.strip(b" \0") if isinstance(expected, bytes) else expected), name


def _directory(message: Callable[..., bytes], locate: int = 1, stock: bytes = b"AAPL", **values: Any) -> bytes:
    return message(TickKind.STOCK_DIRECTORY, locate, stock=stock.ljust(8), round_lot_size=100, **values)


@pytest.mark.parametrize("kind", [k for k in MESSAGES if k is not TickKind.STOCK_DIRECTORY], ids=lambda kind: chr(kind))
@pytest.mark.parametrize("seed", [4, 5])
def test_ticks_when_compared_with_the_records_then_fields_stand_where_the_contract_says(
    kind: TickKind, seed: int, message: Callable[..., bytes], framed: Callable[..., bytes], decode: Decode
) -> None:
    raw, fields = bytearray(_filled(kind, seed)), TICK_FIELDS[kind]
    raw[1:3] = (7).to_bytes(2, "big")
    if fields.qty:
        raw[offset_of(MESSAGES[kind], fields.qty)] &= 0x7F  # a quantity beyond 63 bits is no tick
    ticks, report, _ = decode(framed([_directory(message, 7), bytes(raw)]), session_ns=1_000)
    record, tick = np.frombuffer(bytes(raw), MESSAGES[kind])[0], ticks[1]
    assert not report.counts
    assert tick["kind"] == kind
    assert tick["sequence"] == 2
    assert tick["event_ns"] == 1_000 + (int(record["timestamp_high"]) << 32 | int(record["timestamp_low"]))
    assert tick["instrument_id"] == (NO_INSTRUMENT if kind in b"SVW" else 0)
    scale = 10_000 if kind is TickKind.MWCB_DECLINE else 1
    for ours, name in (("order_ref", fields.order_ref), ("aux_ref", fields.aux_ref), ("price_e4", fields.price)):
        assert int(tick[ours]) == (_number(record, name) // scale if name else 0), ours
    assert int(tick["qty"]) == (_number(record, fields.qty) if fields.qty else 0)
    assert tick["detail"] == (ord(record[fields.detail]) if fields.detail else 0)


def _number(record: Any, name: str) -> int:
    value = record[name].item()
    return int.from_bytes(value, "big") if isinstance(value, bytes) else int(value)


@pytest.mark.parametrize(
    ("kind", "values", "side", "flags"),
    [
        (TickKind.ADD, {"buy_sell_indicator": b"B"}, "B", 0),
        (TickKind.ADD_WITH_MPID, {"buy_sell_indicator": b"S"}, "S", 0),
        (TickKind.EXECUTED, {}, "", TickFlag.PRINTABLE),
        (TickKind.EXECUTED_WITH_PRICE, {"printable": b"Y"}, "", TickFlag.PRINTABLE),
        (TickKind.EXECUTED_WITH_PRICE, {"printable": b"N"}, "", 0),
        (TickKind.TRADE, {"buy_sell_indicator": b"B"}, "B", TickFlag.PRINTABLE),
        (TickKind.CROSS_TRADE, {"shares": 1}, "", TickFlag.PRINTABLE),
        (TickKind.CROSS_TRADE, {"shares": 0}, "", 0),
        (TickKind.IMBALANCE, {"imbalance_direction": b"S"}, "S", 0),
        (TickKind.IMBALANCE, {"imbalance_direction": b"N"}, "", 0),
    ],
)
def test_side_and_flags_when_the_message_says_then_so(
    kind: TickKind, values: dict[str, Any], side: str, flags: int, message: Any, framed: Any, decode: Decode
) -> None:
    ticks, _, _ = decode(framed([_directory(message), message(kind, **values)]))
    assert chr(ticks[1]["side"]).strip("\0") == side
    assert ticks[1]["flags"] == flags


def test_directory_when_it_comes_then_its_tick_carries_the_symbol(message: Any, framed: Any, decode: Decode) -> None:
    first = message(TickKind.STOCK_DIRECTORY, 9, stock=b"BRK.A   ", round_lot_size=1, round_lots_only=b"Y")
    ticks, _, decoder = decode(framed([first, _directory(message, 4, b"ZVZZT"), first]))
    assert [ref_to_symbol(int(ref)) for ref in ticks["order_ref"]] == ["BRK.A", "ZVZZT", "BRK.A"]
    assert ticks["instrument_id"].tolist() == [0, 1, 0]
    assert ticks["qty"].tolist() == [1, 100, 1]
    assert ticks["flags"].tolist() == [TickFlag.ROUND_LOTS_ONLY, 0, TickFlag.ROUND_LOTS_ONLY]
    announced = decoder.take_announcements()
    assert [(i.instrument_id, i.symbol, i.round_lot_size) for i in announced] == [(0, "BRK.A", 1), (1, "ZVZZT", 100)]
    assert decoder.take_announcements() == []


def test_directory_when_symbols_have_any_published_suffix_then_each_is_its_instruments_name(
    message: Any, framed: Any, decode: Decode
) -> None:
    padded = [name.encode().ljust(8, b" \0"[at % 2 : at % 2 + 1]) for at, name in enumerate(LISTED)]
    stream = framed([_directory(message, locate, name) for locate, name in enumerate(padded, 1)])
    ticks, report, decoder = decode(stream)
    announced = decoder.take_announcements()
    assert not report.counts
    assert [ref_to_symbol(int(ref)) for ref in ticks["order_ref"]] == list(LISTED)
    assert [(one.instrument_id, one.symbol) for one in announced] == list(enumerate(LISTED))
    assert ticks["instrument_id"].tolist() == list(range(len(LISTED)))


def test_instrument_ids_when_a_later_day_gives_other_locates_then_they_stay(message: Any, framed: Any) -> None:
    known = [Instrument(instrument_id=5, symbol="MSFT"), Instrument(instrument_id=2, symbol="AAPL")]
    report = Report()
    decoder = Decoder(0, InstrumentRegistry(known), report)
    stream = framed(
        [_directory(message, 1, b"NEWCO"), _directory(message, 2, b"AAPL"), _directory(message, 3, b"MSFT")]
    )
    (block,) = Framer(report).feed(stream)
    assert decoder.decode(block)["instrument_id"].tolist() == [6, 2, 5]
    assert [instrument.symbol for instrument in decoder.take_announcements()] == ["NEWCO"]


def test_instrument_when_its_round_lot_changes_then_it_is_announced_again(message: Any, framed: Any) -> None:
    report = Report()
    decoder = Decoder(0, InstrumentRegistry([Instrument(instrument_id=0, symbol="AAPL")]), report)
    changed = message(TickKind.STOCK_DIRECTORY, 1, stock=b"AAPL    ", round_lot_size=40)
    (block,) = Framer(report).feed(framed([_directory(message), changed, changed]))
    decoder.decode(block)
    assert [(i.instrument_id, i.round_lot_size) for i in decoder.take_announcements()] == [(0, 40)]


def test_locate_when_another_symbol_takes_it_then_it_means_that(message: Any, framed: Any, decode: Decode) -> None:
    add = message(TickKind.ADD, 1)
    ticks, _, _ = decode(framed([_directory(message), add, _directory(message, 1, b"MSFT"), add]))
    assert ticks["instrument_id"].tolist() == [0, 0, 1, 1]


def test_message_when_its_locate_is_unknown_then_counted_with_its_place(
    message: Any, framed: Any, decode: Decode
) -> None:
    stream = framed([_directory(message), message(TickKind.ADD, 2), message(TickKind.DELETE, 1)])
    ticks, report, _ = decode(stream)
    assert ticks["sequence"].tolist() == [1, 3]
    assert report.counts == {AnomalyKind.UNKNOWN_LOCATE: 1}
    assert (report.examples[0].sequence, report.examples[0].offset) == (2, 41)
    assert "locate 2" in str(report.examples[0])


def test_message_when_its_symbol_is_none_then_refused_and_its_locate_unknown(
    message: Any, framed: Any, decode: Decode
) -> None:
    bad = _directory(message, 1, b"\xff\xfe")
    ticks, report, _ = decode(framed([bad, message(TickKind.ADD, 1), _directory(message, 2)]))
    assert ticks["sequence"].tolist() == [3]
    assert report.counts == {AnomalyKind.BAD_SYMBOL: 1, AnomalyKind.UNKNOWN_LOCATE: 1}


def test_message_when_its_time_is_no_time_of_day_then_refused(message: Any, framed: Any, decode: Decode) -> None:
    late = message(TickKind.SYSTEM_EVENT, stamp=86_400_000_000_000)
    ticks, report, _ = decode(framed([_directory(message), late, message(TickKind.SYSTEM_EVENT)]))
    assert ticks["sequence"].tolist() == [1, 3]
    assert report.counts == {AnomalyKind.BAD_TIMESTAMP: 1}


@given(st.lists(st.sampled_from(["good", "type", "short", "long", "locate", "time"]), min_size=1, max_size=60))
def test_every_message_when_decoded_then_a_tick_or_counted(
    message: Any, framed: Any, decode: Decode, plan: Any
) -> None:
    made = {
        "good": message(TickKind.ADD),
        "type": b"z" + bytes(20),
        "short": message(TickKind.ADD)[:-1],
        "long": message(TickKind.ADD) + b"!",
        "locate": message(TickKind.ADD, 3),
        "time": message(TickKind.ADD, stamp=90_000_000_000_000),
    }
    ticks, report, _ = decode(framed([_directory(message), *(made[name] for name in plan)]))
    wanted = Counter(plan)
    assert ticks["sequence"].tolist() == [1, *(i + 2 for i, name in enumerate(plan) if name == "good")]
    assert report.messages == len(plan) + 1 == report.ticks + undecoded(report)
    assert report.counts[AnomalyKind.UNKNOWN_TYPE] == wanted["type"]
    assert report.counts[AnomalyKind.BAD_LENGTH] == wanted["short"] + wanted["long"]
    assert report.counts[AnomalyKind.UNKNOWN_LOCATE] == wanted["locate"]
    assert report.counts[AnomalyKind.BAD_TIMESTAMP] == wanted["time"]


def test_decoder_when_restored_from_packed_locates_then_it_goes_on_alike(message: Any, framed: Any) -> None:
    report = Report()
    first = Decoder(0, InstrumentRegistry(), report)
    names = [b"AAPL", b"MSFT", b"BRK.A"]
    stream = framed([_directory(message, 10 * i, name) for i, name in enumerate(names)])
    (block,) = Framer(report).feed(stream)
    first.decode(block)
    second = Decoder(0, InstrumentRegistry(first.take_announcements()), report, dict(first.locates))
    (block,) = Framer(report).feed(framed([_directory(message, 10, b"MSFT"), message(TickKind.ADD, 20)]))
    assert second.decode(block)["instrument_id"].tolist() == [1, 2]
    assert second.take_announcements() == []
    assert second.packed_locates() == first.packed_locates()


def test_count_due_when_times_differ_then_messages_up_to_the_time(message: Any, framed: Any) -> None:
    stamps = [5, 10, 10, 7, 30]
    stream = framed([message(TickKind.SYSTEM_EVENT, stamp=stamp) for stamp in stamps])
    (block,) = Framer(Report()).feed(stream)
    due = [int(count_due(block.data, block.starts, block.lengths, 0, now)) for now in (4, 5, 10, 29, 30)]
    assert due == [0, 1, 4, 4, 5]
    assert next_stamp(block, 3) == 7


def test_tick_layout_when_the_kernel_writes_words_then_they_are_the_fields() -> None:
    """The kernel writes seven 8-byte words per tick; this is the layout it takes for granted."""
    offsets = {name: offset_of(TICK, name) for name in TICK.names or ()}
    words = ["event_ns", "sequence", "order_ref", "aux_ref", "price_e4", "qty", "instrument_id"]
    assert [offsets[name] for name in words] == [0, 8, 16, 24, 32, 40, 48]
    assert [offsets[name] for name in ("kind", "side", "flags", "detail")] == [52, 53, 54, 55]
    assert TICK.itemsize == 56


# --- exchange data ------------------------------------------------------------------------------------------------


def test_artificial_day_when_decoded_then_all_12012_messages_are_ticks(
    inflated: Callable[[str], bytes], decode: Decode
) -> None:
    stream = inflated("itch_artificial/ex20101224.TEST_ITCH_50.gz")
    ticks, report, decoder = decode(stream, chunk=777)
    assert (len(ticks), report.messages, dict(report.counts)) == (12_012, 12_012, {})
    assert ticks["sequence"].tolist() == list(range(1, 12_013))
    assert decoder.kinds()[TickKind.REPLACE] == 12
    assert decoder.kinds()[TickKind.ADD_WITH_MPID] == 3
    again = b"".join(int(LENGTHS[m[0]]).to_bytes(2, "big") + m for m in _zero_framed(stream))
    theirs = Counter(one.message_type for one in MessageParser().parse_stream(again))
    assert {chr(kind).encode(): count for kind, count in decoder.kinds().items()} == theirs


def _zero_framed(stream: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(stream):
        length = int(LENGTHS[stream[at + 2]])
        yield stream[at + 2 : at + 2 + length]
        at += 2 + length


@pytest.mark.parametrize(("shares", "fits"), [((1 << 63) - 1, True), (1 << 63, False), ((1 << 64) - 1, False)])
def test_cross_when_its_shares_are_beyond_63_bits_then_counted_and_nothing_wraps(
    decode: Decode, message: Any, framed: Any, shares: int, fits: bool
) -> None:
    cross = message(TickKind.CROSS_TRADE, 1, 34_200 * 10**9, stock=b"AAPL    ", shares=shares, cross_price=1)
    ticks, report, _ = decode(framed([_directory(message), cross]))
    assert ticks[ticks["kind"] == TickKind.CROSS_TRADE]["qty"].tolist() == [shares] * fits
    assert report.counts == ({} if fits else {AnomalyKind.OFF_SCALE: 1})


def test_admin_messages_when_decoded_then_all_1000_are_ticks(inflated: Any, decode: Decode) -> None:
    ticks, report, decoder = decode(inflated("nasdaq_wire/bekele_1000_real_admin_msgs.itch"))
    assert (len(ticks), dict(report.counts)) == (1_000, {})
    assert len(decoder.registry) == decoder.kinds()[TickKind.STOCK_DIRECTORY] == 993


def _datagrams(capture: bytes) -> Iterator[bytes]:
    """UDP payloads of a pcap file with Ethernet and IPv4."""
    assert capture[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1")  # times in microseconds, or nanoseconds
    at = 24
    while at < len(capture):
        size = struct.unpack_from("<I", capture, at + 8)[0]
        frame = capture[at + 16 : at + 16 + size]
        at += 16 + size
        ip = frame[18:] if frame[12:14] == b"\x81\x00" else frame[14:]  # with or without a VLAN tag
        assert ip[9] == 17
        yield ip[(ip[0] & 15) * 4 + 8 : int.from_bytes(ip[2:4], "big")]


def test_captured_packets_when_unpacked_then_every_message_has_its_length(data_dir: Path) -> None:
    counts: Counter[str] = Counter()
    largest = 0
    for path in sorted(data_dir.glob("nasdaq_wire/Nasdaq/*Itch*/*.pcap")):
        for datagram in _datagrams(path.read_bytes()):
            report = Report()
            packet = parse_packet(datagram, report)
            assert packet is not None
            assert not report.counts
            block = packet_block(packet.payload, packet.count, packet.sequence)
            assert len(block) == packet.count
            kinds = block.data[block.starts]
            assert (LENGTHS[kinds] == block.lengths).all(), path.name
            counts += Counter(chr(kind) for kind in kinds)
            largest = max(largest, packet.count)
            _assert_nothing_vanishes(block)
    assert largest == 38
    assert counts.keys() >= set("ADEHILU")


def _assert_nothing_vanishes(block: Any) -> None:
    """Without a directory no order has an instrument: then every message is counted."""
    report = Report()
    ticks = Decoder(0, InstrumentRegistry(), report).decode(block)
    assert len(ticks) + report.counts[AnomalyKind.UNKNOWN_LOCATE] == len(block)
    assert sum(len(records(block, kind)) for kind in MESSAGES) == len(block)
