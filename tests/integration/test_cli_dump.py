"""``tidemark dump``: every message with every field, both framings, faults named with their place."""

import json
import struct
from pathlib import Path

import pytest
from tidemark.main import app
from typer.testing import CliRunner

SYSTEM = struct.pack(">cHH6sc", b"S", 0, 0, (34_200 * 10**9).to_bytes(6, "big"), b"O")
DIRECTORY = struct.pack(
    ">cHH6s8sccIcc2scccccIc", b"R", 3, 0, (34_200 * 10**9 + 1).to_bytes(6, "big"), b"AAPL    ",
    b"Q", b"N", 100, b"N", b"C", b"Z ", b"P", b"N", b"N", b"1", b"N", 0, b"N",
)  # fmt: skip
ADD = struct.pack(">cHH6sQcI8sI", b"A", 3, 0, (34_201 * 10**9).to_bytes(6, "big"), 7, b"B", 100, b"AAPL    ", 1_234_500)


def framed(*messages: bytes, zero: bool = False) -> bytes:
    return b"".join((b"\0\0" if zero else len(m).to_bytes(2, "big")) + m for m in messages)


def dump(path: Path, *options: str) -> tuple[int, list[dict[str, object]], str]:
    result = CliRunner().invoke(app, ["dump", str(path), *options])
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()], result.stderr


@pytest.mark.parametrize("zero", [False, True], ids=["length", "zero"])
def test_dump_when_either_framing_then_all_fields_in_order(tmp_path: Path, zero: bool) -> None:
    path = tmp_path / "feed.itch"
    path.write_bytes(framed(SYSTEM, DIRECTORY, ADD, zero=zero))
    code, rows, _ = dump(path)
    assert code == 0
    assert [row["message_type"] for row in rows] == ["S", "R", "A"]
    assert rows[2] == {
        "message": 3,
        "offset": 2 + len(SYSTEM) + 2 + len(DIRECTORY),
        "message_type": "A",
        "stock_locate": 3,
        "tracking_number": 0,
        "timestamp_ns": 34_201 * 10**9,
        "order_reference_number": 7,
        "buy_sell_indicator": "B",
        "shares": 100,
        "stock": "AAPL",
        "price": 1_234_500,
    }


def test_dump_when_type_and_limit_are_given_then_only_those(tmp_path: Path) -> None:
    path = tmp_path / "feed.itch"
    path.write_bytes(framed(SYSTEM, ADD, ADD, ADD))
    code, rows, _ = dump(path, "--type", "A", "--limit", "2")
    assert (code, [row["message"] for row in rows]) == (0, [2, 3])


def test_dump_when_unknown_type_and_cut_short_then_both_are_named_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "feed.itch"
    path.write_bytes(framed(SYSTEM, b"\x01\x02", ADD)[:-1])
    code, rows, errors = dump(path)
    assert code == 0
    assert rows[1] == {"message": 2, "offset": 14, "message_type": "\x01", "undecodable": "0102"}
    assert "truncated at byte 18" in errors


def test_dump_when_file_is_no_feed_then_refused_with_the_offset(tmp_path: Path) -> None:
    path = tmp_path / "feed.itch"
    path.write_bytes(b"Date,Open,High,Low,Close\n" * 10)
    code, rows, errors = dump(path)
    assert (code, rows) == (1, [])
    assert (
        "neither framing of ITCH 5.0 is recognised (this is text; tables of trades or quotes: --feed csv) at byte 0"
        in " ".join(errors.split())
    )


def test_dump_when_type_is_no_message_then_usage_names_those_there_are(tmp_path: Path) -> None:
    path = tmp_path / "feed.itch"
    path.write_bytes(framed(SYSTEM))
    code, _, errors = dump(path, "--type", "1")
    assert code == 2
    assert "no message type" in errors
