"""Whatever the bytes are, framing and decoding come to their end: each call takes messages or refuses them."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from common.contracts.ticks import TickKind, offset_of, ref_to_symbol
from hypothesis import example, given
from hypothesis import strategies as st
from ingest.domain.anomalies import AnomalyKind, Report
from ingest.domain.framing import Block, Framer, Framing, FramingError, packet_block
from ingest.domain.instruments import InstrumentRegistry
from ingest.domain.itch import Decoder, decode_messages
from ingest.domain.itch_spec import LENGTHS, MESSAGES
from ingest.domain.stamps import count_due, next_stamp

from tests.ingest.refused import undecoded

WITHIN_S = 20.0
"""For what takes milliseconds, on a machine that is busy."""
KINDS = [int(kind) for kind in TickKind if LENGTHS[int(kind)]]
STOCK_AT = offset_of(MESSAGES[TickKind.STOCK_DIRECTORY], "stock")


@contextmanager
def bounded() -> Iterator[None]:
    """Fails where the body does not end."""

    def late(*_: Any) -> None:
        raise AssertionError("it does not come to its end")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, WITHIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def decoded(block: Block, decoder: Decoder) -> int:
    """Decodes a block; every message is a tick or is counted. Returns ticks."""
    report = decoder.report
    before = undecoded(report)
    ticks = decoder.decode(block)
    assert len(ticks) + undecoded(report) - before == len(block)
    next_stamp(block, 0)
    assert 0 <= count_due(block.data, block.starts, block.lengths, 0, 0) <= len(block)
    return len(ticks)


def directory(stock: bytes, lot: int = 100, locate: int = 1) -> bytes:
    body = bytearray(int(LENGTHS[TickKind.STOCK_DIRECTORY]))
    body[0], body[1:3] = int(TickKind.STOCK_DIRECTORY), locate.to_bytes(2, "big")
    body[STOCK_AT : STOCK_AT + 8] = stock
    body[STOCK_AT + 10 : STOCK_AT + 14] = lot.to_bytes(4, "big")
    return bytes(body)


@pytest.mark.parametrize("padding", [b"\0\0\0\0", b"    ", b"\0   ", b"   \0", b" \0 \0"])
def test_symbol_when_padded_with_nul_or_spaces_then_one_instrument_and_one_word(padding: bytes) -> None:
    report, registry = Report(), InstrumentRegistry()
    decoder = Decoder(0, registry, report)
    message = directory(b"MSFT" + padding)
    payload = b"".join(len(one).to_bytes(2, "big") + one for one in (directory(b"MSFT    "), message, message))
    with bounded():
        ticks = decoder.decode(packet_block(payload, 3, 1))
    assert [ref_to_symbol(int(ref)) for ref in ticks["order_ref"]] == ["MSFT"] * 3
    assert [instrument.symbol for instrument in registry.instruments()] == ["MSFT"]
    assert len(decoder.take_announcements()) == 1
    assert not report.counts


@pytest.mark.parametrize(
    "stock", [bytes(8), b" " * 8, b"\0MSFT\0\0\0", b"MS\0FT   ", b"\xff" * 8, b"msft    ", b"MS FT   "]
)
def test_symbol_when_it_is_none_then_counted_and_the_neighbours_decoded(stock: bytes) -> None:
    report = Report()
    payload = b"".join(
        len(one).to_bytes(2, "big") + one
        for one in (directory(b"AAPL    ", locate=2), directory(stock), directory(b"AAPL\0\0\0\0", locate=2))
    )
    with bounded():
        ticks = Decoder(0, InstrumentRegistry(), report).decode(packet_block(payload, 3, 1))
    assert len(ticks) == 2
    assert report.counts == {AnomalyKind.BAD_SYMBOL: 1}


def test_kernel_when_a_message_is_registered_and_still_looks_new_then_passed() -> None:
    """Kernel and registry may read a directory message differently: the kernel goes on all the same."""
    block = packet_block(len(directory(b"A" * 8)).to_bytes(2, "big") + directory(b"A" * 8), 1, 1)
    decoder = Decoder(0, InstrumentRegistry(), Report())
    ticks = decoder.decode(block)
    decoder._state.locate_symbols[1] += 1
    rows = ticks.copy().view("i8").reshape(-1, 7)

    def reached(known: int) -> Any:
        return decode_messages(block.data, block.starts, block.lengths, (0, 1, known), (1, 0), rows, 0, decoder._state)

    assert reached(-1) == (0, 0)
    assert reached(0) == (1, 1)


@st.composite
def _messages(draw: st.DrawFn) -> bytes:
    """A body that is nearly a message: right type and length or not, any bytes within, directory messages often."""
    kind = draw(st.sampled_from([TickKind.STOCK_DIRECTORY, TickKind.STOCK_DIRECTORY, *KINDS, 0, 255]))
    letters = st.sampled_from([b"A", b"B", b"\0", b" ", b"\xff", b"\x1c"])
    if kind == TickKind.STOCK_DIRECTORY and draw(st.booleans()):
        stock = b"".join(draw(st.lists(letters, min_size=8, max_size=8)))
        lot = draw(st.sampled_from([0, 1, 100, (1 << 32) - 1]))
        return directory(stock, lot, draw(st.integers(0, 3)))
    length = max(1, int(LENGTHS[int(kind)]) + draw(st.sampled_from([0, 0, 0, 0, -1, 1])))
    body = bytearray(draw(st.binary(min_size=length, max_size=length)))
    body[0] = int(kind)
    if length > 2:
        body[1:3] = draw(st.integers(0, 3)).to_bytes(2, "big")
    return bytes(body)


@given(st.lists(_messages(), min_size=1, max_size=30))
@example([directory(b"AAPL\0\0\0\0"), directory(b"AAPL    ")])
@example([directory(b"AAPL\x1c   ")])
def test_decoder_when_messages_are_nearly_right_then_each_is_a_tick_or_counted(messages: list[bytes]) -> None:
    payload = b"".join(len(one).to_bytes(2, "big") + one for one in messages)
    decoder = Decoder(0, InstrumentRegistry(), Report())
    with bounded():
        decoded(packet_block(payload, len(messages), 1), decoder)
        resumed = Decoder(0, decoder.registry, Report(), decoder.locates)
        decoded(packet_block(payload, len(messages), 1), resumed)


def _stream(build: Callable[[bytes], bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(_messages().map(build), max_size=12).map(b"".join)


@given(
    st.one_of(
        st.binary(max_size=400),
        st.just(bytes(500)),
        _stream(lambda one: len(one).to_bytes(2, "big") + one),
        _stream(lambda one: b"\0\0" + one),
        st.tuples(_stream(lambda one: len(one).to_bytes(2, "big") + one), st.binary(max_size=40)).map(b"".join),
    ),
    st.integers(1, 200),
    st.sampled_from([None, *Framing]),
)
def test_framer_when_given_any_bytes_in_any_pieces_then_every_byte_is_passed_left_or_refused(
    stream: bytes, piece: int, framing: Framing | None
) -> None:
    report = Report(examples_max=10_000)
    framer, decoder = Framer(report, framing), Decoder(0, InstrumentRegistry(), report)
    messages = 0
    with bounded():
        try:
            for at in range(0, len(stream), piece):
                for block in framer.feed(stream[at : at + piece]):
                    messages += len(block)
                    decoded(block, decoder)
                assert framer.offset + len(framer._carry) == min(at + piece, len(stream))
        except FramingError as error:
            assert error.offset == framer.offset
    damages = sum(example.kind is AnomalyKind.SKIPPED_BYTES for example in report.examples)
    assert framer.sequence == messages + damages + 1
