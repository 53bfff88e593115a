"""``tidemark replay --offline --feed``: the tables are those of the same messages in a file of ITCH, and a loss
is in the exit code.
"""

import struct
from pathlib import Path
from typing import Final

import pytest
from ingest.domain.capture_writer import PCAP_HEADER, mold_end, mold_packet, pcap_record
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from tidemark.main import app
from typer.testing import CliRunner

from tests.ingest.capture_files import messages_of

DAY: Final = "2024-01-02"
TABLES: Final = ("bars.csv", "bbo.csv", "trades.csv", "depth.csv")
MORE: Final = ("--trades", "--depth", "3", "--every", "1s", "--final", "--bars", "1s,1d")


@pytest.fixture(scope="module")
def messages() -> list[bytes]:
    """Those of a short day."""
    return messages_of(b"".join(exchange_chunks(ExchangeOptions(symbols=5, rate=200, messages=2_000))))


def replay(*arguments: object, given: bytes = b"") -> tuple[int, str]:
    called = ["replay", "--offline", "--date", DAY, *map(str, arguments)]
    result = CliRunner(env={"COLUMNS": "400", "TERM": "dumb"}).invoke(app, called, input=given)
    return result.exit_code, " ".join(result.stderr.split())


def captured(messages: list[bytes], lost: int = -1) -> bytes:
    """A capture of a line of these messages, one in a packet, without message number ``lost``."""
    records = [
        pcap_record(10**18 + number * 10**6, mold_packet("SESSION001", number, [message]))
        for number, message in enumerate(messages, 1)
        if number != lost
    ]
    end = pcap_record(10**18 + len(messages) * 10**6, mold_end("SESSION001", len(messages) + 1))
    return PCAP_HEADER + b"".join(records) + end


def framed(messages: list[bytes], kind: bytes = b"") -> bytes:
    return b"".join(struct.pack(">H", len(kind + one)) + kind + one for one in messages)


@pytest.mark.parametrize("feed", ["pcap", "soupbintcp", "itch-raw"])
def test_reader_when_its_messages_are_those_of_a_file_then_the_same_tables(
    tmp_path: Path, messages: list[bytes], feed: str
) -> None:
    (tmp_path / "day.itch").write_bytes(framed(messages))
    held = {
        "pcap": captured(messages),
        "soupbintcp": framed(messages, b"S") + b"\0\1Z",
        "itch-raw": b"".join(messages),
    }[feed]
    (tmp_path / "day.feed").write_bytes(held)
    assert replay(tmp_path / "day.itch", "--out", tmp_path / "file", *MORE)[0] == 0
    code, errors = replay(tmp_path / "day.feed", "--feed", feed, "--out", tmp_path / "reader", *MORE)
    assert code == 0, errors
    for table in TABLES:
        assert (tmp_path / "reader" / table).read_bytes() == (tmp_path / "file" / table).read_bytes()
    piped = replay("-", "--feed", feed, "--out", tmp_path / "pipe", *MORE, given=held)
    assert piped[0] == 0, piped[1]
    assert (tmp_path / "pipe" / "bars.csv").read_bytes() == (tmp_path / "file" / "bars.csv").read_bytes()


def test_reader_when_something_is_missing_then_exit_code_3_and_strict_refuses(
    tmp_path: Path, messages: list[bytes]
) -> None:
    out = tmp_path / "out"
    (tmp_path / "whole.pcap").write_bytes(captured(messages))
    (tmp_path / "lossy.pcap").write_bytes(captured(messages, lost=1_000))
    assert replay(tmp_path / "whole.pcap", "--feed", "pcap", "--out", out)[0] == 0
    whole = (out / "bars.csv").read_bytes()
    code, errors = replay(tmp_path / "lossy.pcap", "--feed", "pcap", "--out", out, "--strict")
    assert (code, (out / "bars.csv").read_bytes()) == (1, whole)
    assert "--strict: the feed is not whole (1 sequence_gap)" in errors
    code, errors = replay(tmp_path / "lossy.pcap", "--feed", "pcap", "--out", out)
    assert code == 3
    assert "the feed is not whole: 1 sequence_gap; exit code 3" in errors


@pytest.mark.parametrize(
    ("feed", "data", "said"),
    [
        ("pcap", b"<html>404</html>", "neither pcap nor pcapng"),
        ("itch-raw", b"", "no record of it names an instrument"),
        ("dbn", b"DBN\x09" + bytes(99), "DBN"),
    ],
)
def test_reader_when_nothing_can_be_used_then_exit_code_1_and_earlier_tables_stay(
    tmp_path: Path, feed: str, data: bytes, said: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "bars.csv").write_bytes(b"of an earlier run")
    (tmp_path / "source").write_bytes(data)
    code, errors = replay(tmp_path / "source", "--feed", feed, "--out", out)
    assert code == 1
    assert said in errors
    assert [path.read_bytes() for path in out.iterdir()] == [b"of an earlier run"]


def test_reader_when_a_day_is_not_known_and_a_bar_needs_it_then_one_line_asks_for_it(tmp_path: Path) -> None:
    (tmp_path / "trades.dbn").write_bytes(b"DBN\x01")
    arguments = ["replay", "--offline", str(tmp_path / "trades.dbn"), "--feed", "dbn", "--out", str(tmp_path / "out")]
    result = CliRunner(env={"COLUMNS": "400", "TERM": "dumb"}).invoke(app, [*arguments, "--bars", "1d"])
    assert result.exit_code == 1
    assert "no name of a source says the day" in result.stderr
