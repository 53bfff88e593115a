"""The compiled reader of Avro records against fastavro: the same values, and the same refusals."""

import ctypes
import faulthandler
import mmap
import os
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from common.avro.compiled import Chosen, Given, Number, SchemaUnsupported, Text, Verdict, reader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.common.avro_messages import DEEP, FLAT, General, flat_values, framed

ID = 70_001
PROT_NONE = 0
NAME = "test.Flat"
SYMBOLS = ("BUY", "SELL", "NONE")
READER = reader(FLAT, branch="Flat")
GENERAL = General(FLAT, NAME)
RECORD_OF_FEW = st.lists(flat_values, min_size=1, max_size=5)


def text_at(data: bytes, row: Any, path: str) -> bytes:
    return data[row[f"{path}.begin"] : row[f"{path}.end"]]


def quote_of(data: bytes, row: Any, path: str) -> dict[str, Any]:
    return {
        "at_ns": int(row[f"{path}.at_ns"]),
        "venue": text_at(data, row, f"{path}.venue").decode(),
        "book": SYMBOLS[row[f"{path}.book"]] if row[f"{path}.book.given"] else None,
    }


def value_of(data: bytes, row: Any) -> dict[str, Any]:
    """The record that the columns say."""
    return {
        "account": text_at(data, row, "account").decode(),
        "book": SYMBOLS[row["book"]],
        "count": int(row["count"]),
        "amount": int(row["amount"]),
        "live": bool(row["live"]),
        "hash": text_at(data, row, "hash"),
        "blob": text_at(data, row, "blob"),
        "note": text_at(data, row, "note").decode() if row["note.given"] else None,
        "quote": quote_of(data, row, "quote") if row["quote.given"] else None,
        "other": quote_of(data, row, "other"),
        "last": text_at(data, row, "last"),
    }


def read_one(body: bytes) -> dict[str, Any] | None:
    """The value that the compiled reader makes of a body; None: it does not accept it."""
    data, rows, verdicts = READER.read([framed(ID, body)], ID)
    return value_of(data.tobytes(), rows[0]) if verdicts[0] == Verdict.SOUND else None


@given(RECORD_OF_FEW)
@settings(max_examples=150, deadline=None)
def test_read_when_records_are_sound_then_the_columns_say_what_was_written(values: list[dict[str, Any]]) -> None:
    data, rows, verdicts = READER.read([framed(ID, GENERAL.encoded(value)) for value in values], ID)
    assert (verdicts == Verdict.SOUND).all()
    assert [value_of(data.tobytes(), row) for row in rows] == values


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A sound body with bytes changed, cut off, put in or added."""
    body = bytearray(GENERAL.encoded(draw(flat_values)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        match draw(st.sampled_from(["change", "cut", "insert", "drop", "add"])):
            case "change" if at < len(body):
                body[at] = draw(st.integers(0, 255))
            case "cut":
                del body[at:]
            case "insert":
                body[at:at] = draw(st.binary(min_size=1, max_size=12))
            case "drop":
                del body[at : at + 1]
            case _:
                body += draw(st.binary(max_size=3))
    return bytes(body)


@given(mutated() | st.binary(max_size=80) | st.binary(max_size=80).map(lambda rest: b"\x02" + rest))
@settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_read_when_bytes_are_anything_then_it_accepts_what_the_general_codec_does(body: bytes) -> None:
    try:
        expected = GENERAL.decoded(body)
    except Exception:  # fastavro raises whatever the bytes bring it to
        expected = None
    found = read_one(body)
    if found is not None:
        assert found == expected
    elif expected is not None:  # bytes that fastavro reads though they are not what Avro's specification says
        assert encoded_or_none(expected) != body


def encoded_or_none(value: Any) -> bytes | None:
    try:
        return GENERAL.encoded(value) if GENERAL.is_sound(value) else None
    except Exception:  # an int of 64 bits
        return None


@pytest.mark.parametrize(
    ("number", "sound"),
    [
        (b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", True),  # the largest
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", True),  # the smallest
        (b"\x80\x80\x00", True),  # longer than it has to be
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", False),  # of more than 64 bits
        (b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", False),  # of more than ten bytes
    ],
)
def test_read_when_a_number_is_at_an_edge_then_it_is_read_if_it_has_64_bits(number: bytes, sound: bool) -> None:
    value = {
        "account": "", "book": "BUY", "count": 0, "amount": 0, "live": True, "hash": b"1234", "blob": b"", "note": "",
        "quote": None, "other": {"at_ns": 0, "venue": "", "book": None}, "last": b"1234",
    }  # fmt: skip
    body = GENERAL.encoded(value)
    assert body[4] == 0  # the amount, behind branch, account, book and count
    found = read_one(body[:4] + number + body[5:])
    assert (found is not None) is sound
    if sound:
        assert found == GENERAL.decoded(body[:4] + number + body[5:])


@pytest.mark.parametrize("text", [b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"12345678\xff"])
def test_read_when_a_string_is_no_utf8_then_it_is_not_accepted(text: bytes) -> None:
    body = GENERAL.encoded(next_value())
    assert read_one(body) is not None
    broken = body[:1] + bytes([2 * len(text)]) + text + body[2:]
    assert body[1] == 0
    assert read_one(broken) is None


def next_value() -> dict[str, Any]:
    quote = {"at_ns": 1, "venue": "XNAS", "book": "SELL"}
    return {
        "account": "", "book": "NONE", "count": -1, "amount": 5, "live": False, "hash": b"abcd", "blob": b"blob",
        "note": None, "quote": quote, "other": quote, "last": b"efgh",
    }  # fmt: skip


def test_read_when_framing_or_id_are_others_then_it_says_so_of_each_record() -> None:
    body = GENERAL.encoded(next_value())
    other = General(FLAT, "test.Other").encoded({"id": 1})
    values = [
        framed(ID, body), b'{"type":"json"}', framed(ID + 1, body), b"", b"\x00\x00", framed(ID, body + b"\x00"),
        framed(ID, b""), framed(ID, other), framed(2**32 - 1, body), framed(ID, body),
    ]  # fmt: skip
    data, rows, verdicts = READER.read(values, ID)
    assert verdicts.tolist() == [
        Verdict.SOUND, Verdict.UNFRAMED, Verdict.FOREIGN, Verdict.UNFRAMED, Verdict.UNFRAMED, Verdict.MALFORMED,
        Verdict.MALFORMED, Verdict.MALFORMED, Verdict.FOREIGN, Verdict.SOUND,
    ]  # fmt: skip
    assert value_of(data.tobytes(), rows[-1]) == next_value()
    assert READER.read(values, 2**32 - 1).verdicts[-2] == Verdict.SOUND


def test_read_when_there_is_nothing_then_nothing_is_read() -> None:
    assert len(READER.read([], ID).rows) == 0


def test_read_when_a_record_is_said_to_lie_elsewhere_then_it_is_refused() -> None:
    data = np.zeros(10, np.uint8)
    rows, verdicts = np.zeros(1, READER.row), np.zeros(1, np.uint8)
    for begin, end in ((-1, 5), (0, 11), (5, 4)):
        with pytest.raises(ValueError, match="does not lie"):
            READER.read_into(data, np.array([begin]), np.array([end]), ID, rows, verdicts)
    with pytest.raises(ValueError, match="one length"):
        READER.read_into(data, np.array([0]), np.array([5, 6]), ID, rows, verdicts)


# --- which columns ------------------------------------------------------------------------------------------------


def test_reader_when_few_columns_are_wanted_then_the_rest_is_checked_all_the_same() -> None:
    few = reader(
        FLAT,
        [
            Number("amount", "amount_e4"),
            Text("account", "from", "to"),
            Given("quote", "quoted"),
            Chosen("book", "SELL", "sell"),
            Chosen("quote.book", "SELL", "quoted_sell"),
        ],
        branch="Flat",
    )
    assert few.row.names == ("amount_e4", "from", "to", "quoted", "sell", "quoted_sell")
    values: list[Mapping[str, Any]] = [next_value() | {"book": "SELL"}, next_value() | {"quote": None}]
    bodies = [GENERAL.encoded(value) for value in values]
    broken = [framed(ID, body[:-1]) for body in bodies]
    _, rows, verdicts = few.read([framed(ID, body) for body in bodies] + broken, ID)
    assert verdicts.tolist() == [Verdict.SOUND] * 2 + [Verdict.MALFORMED] * 2
    assert rows[["amount_e4", "quoted", "sell", "quoted_sell"]][:2].tolist() == [
        (5, True, True, True),
        (5, False, False, False),
    ]
    assert few.fingerprint != READER.fingerprint


@pytest.mark.parametrize(
    ("schema", "columns", "branch", "text"),
    [
        (DEEP, None, None, "items: arrays and maps"),
        ({"type": "record", "name": "R", "fields": [{"name": "x", "type": "double"}]}, None, None, "x: 'double'"),
        ({"type": "record", "name": "R", "fields": [{"name": "x", "type": ["long", "int"]}]}, None, None, "x: only"),
        ({"type": "record", "name": "R", "fields": [{"name": "x", "type": ["null", "R"]}]}, None, None, "has itself"),
        (FLAT, None, None, "none of the union's"),
        (FLAT, None, "Third", "'Third' is none of the union's Other, Flat"),
        ("string", None, None, "only a record"),
        (FLAT, [Number("missing", "m")], "Flat", "missing: the schema has no such field"),
        (FLAT, [Number("account", "a")], "Flat", "account: string is no number"),
        (FLAT, [Text("amount", "a", "b")], "Flat", "amount: long is no text"),
        (FLAT, [Chosen("book", "HOLD", "b")], "Flat", "book: it has no symbol 'HOLD'"),
    ],
)
def test_reader_when_it_cannot_be_composed_then_it_says_why(
    schema: Any, columns: Any, branch: str | None, text: str
) -> None:
    with pytest.raises(SchemaUnsupported, match=text):
        reader(schema, columns, branch)


def test_fingerprint_when_the_schema_changes_then_it_is_another() -> None:
    def of(symbols: list[str]) -> str:
        kind = {"type": "enum", "name": "E", "symbols": symbols}
        return reader({"type": "record", "name": "R", "fields": [{"name": "x", "type": kind}]}).fingerprint

    assert of(["A", "B"]) == of(["A", "B"])
    assert len({of(["A", "B"]), of(["B", "A"]), of(["A", "B", "C"])}) == 3


# --- where it reads -----------------------------------------------------------------------------------------------


class Walled:
    """A page with no access to the pages before and after it: who reads outside does not live on."""

    def __init__(self) -> None:
        size = mmap.PAGESIZE
        self._memory = mmap.mmap(-1, 3 * size)
        self.page = np.frombuffer(self._memory, np.uint8)[size : 2 * size]
        libc = ctypes.CDLL(None, use_errno=True)
        for begin in (self.page.ctypes.data - size, self.page.ctypes.data + size):
            assert libc.mprotect(ctypes.c_void_p(begin), ctypes.c_size_t(size), PROT_NONE) == 0


def is_outlived(work: Callable[[], object]) -> bool:
    """Whether a process that does this comes to its end."""
    child = os.fork()
    if child == 0:
        faulthandler.disable()
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def read_between_walls(seed: int, records: int) -> None:
    walled, chance = Walled(), random.Random(seed)
    whole = framed(ID, GENERAL.encoded(next_value()))
    rows, verdicts = np.zeros(1, READER.row), np.zeros(1, np.uint8)
    for _ in range(records):
        body = bytearray(whole[: chance.randrange(len(whole) + 1)])
        for _ in range(chance.randrange(4)):
            if len(body) > 5:
                body[chance.randrange(5, len(body))] = chance.randrange(256)
        for place in (walled.page[: len(body)], walled.page[walled.page.size - len(body) :]):
            place[:] = np.frombuffer(body, np.uint8)
            READER.read_into(place, np.zeros(1, np.int64), np.array([len(body)]), ID, rows, verdicts)


def test_read_when_pages_around_a_record_cannot_be_read_then_nothing_is_missed() -> None:
    read_one(b"")  # compiled here, for the process that may not survive
    assert is_outlived(lambda: read_between_walls(seed=1, records=20_000))


def test_walls_when_they_are_touched_then_the_process_ends() -> None:
    page = Walled().page
    assert is_outlived(lambda: ctypes.string_at(page.ctypes.data, page.size))
    assert not is_outlived(lambda: ctypes.string_at(page.ctypes.data, page.size + 1))
