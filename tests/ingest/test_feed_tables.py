"""CSV and Parquet by a mapping file: the same ticks from either, exact numbers, and every bad row counted."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common.feeds import FeedUnavailable, FeedUnreadable
from ingest.domain.anomalies import AnomalyKind, Report
from ingest.feeds.mapping import time_ns
from ingest.feeds.offline import reader_ticks

pa = pytest.importorskip("pyarrow", reason="of the extra `parquet`")
pq = pytest.importorskip("pyarrow.parquet")

TRADES = """kind = "trades"
time = "ts"
symbol = "sym"
price = "px"
qty = "size"
qty_decimals = 2
"""
QUOTES = """kind = "quotes"
time = "ts"
time_unit = "iso"
symbol_value = "ACME"
bid = "b"
bid_qty = "bs"
ask = "a"
ask_qty = "as"
"""
NOON_NS = 1_704_214_800_000_000_000


def read(name: str, source: Path, mapping: str, **more: str) -> tuple[Any, Report]:
    file = source.with_suffix(".toml")
    file.write_text(mapping)
    report = Report()
    options = {"mapping": str(file), **more}
    return np.concatenate(list(reader_ticks(name, (str(source),), options=options, report=report))), report


def test_trades_when_csv_or_parquet_then_the_same_ticks(tmp_path: Path) -> None:
    rows = [(NOON_NS + at, "ACME" if at % 2 else "BOLT", 10.1 + at, 0.25 * at) for at in range(1, 50)]
    text = "ts,venue,sym,px,size\n" + "".join(f"{ns},X,{symbol},{px:.4f},{qty}\n" for ns, symbol, px, qty in rows)
    (tmp_path / "a.csv").write_text(text)
    table = pa.table(
        {
            "sym": [row[1] for row in rows],
            "ts": pa.array([row[0] for row in rows], pa.timestamp("ns")),
            "px": [Decimal(f"{row[2]:.4f}") for row in rows],
            "size": [row[3] for row in rows],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    from_csv, report = read("csv", tmp_path / "a.csv", TRADES)
    from_parquet, _ = read("parquet", tmp_path / "a.parquet", TRADES)
    assert np.array_equal(from_csv, from_parquet)
    assert not report.counts
    told = from_csv[from_csv["kind"] == ord("P")]
    assert told["price_e4"].tolist() == [101_000 + 10_000 * at for at in range(1, 50)]
    assert told["qty"].tolist() == [25 * at for at in range(1, 50)]
    assert told["event_ns"].tolist() == [row[0] for row in rows]


def test_quotes_when_a_side_changes_then_only_that_side_has_a_tick(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text(
        "ts,b,bs,a,as\n2024-01-02T12:00:00.000000001-05:00,10,5,10.02,3\n2024-01-02 17:00:01,10,5,10.02,2\n"
        "2024-01-02T17:00:02Z,,,10.02,2\n"
    )
    ticks, _ = read("csv", tmp_path / "q.csv", QUOTES)
    assert [chr(kind) for kind in ticks["kind"][:-1]] == ["R", "A", "A", "U", "D"]
    assert ticks["event_ns"][1:5].tolist() == [NOON_NS + 1, NOON_NS + 1, NOON_NS + 10**9, NOON_NS + 2 * 10**9]


def test_rows_when_they_are_bad_then_counted_with_their_offset(tmp_path: Path) -> None:
    head = "ts,sym,px,size\n"
    bad = ["x,A,1,1\n", "5,A,1.00001,1\n", "5,A,1\n", "5,no symbol,1,1\n", "5,A,0,1\n"]
    (tmp_path / "a.csv").write_text(head + "".join(bad) + "5,A,1,1\n")
    _, report = read("csv", tmp_path / "a.csv", TRADES)
    assert report.counts == {AnomalyKind.BAD_RECORD: 3, AnomalyKind.OFF_SCALE: 1, AnomalyKind.BAD_SYMBOL: 1}
    assert report.messages == 6
    assert report.examples[1].offset == len(head) + len(bad[0])


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ("kind = 'depth'\n", "kind is 'depth', not one of trades, quotes"),
        (TRADES + "colour = 'red'\n", "colour is nothing that trades have"),
        (TRADES.replace('px"', '"'), "price is missing"),
        ("kind = ", "mapping file"),
        ("kind = ['trades']\n", r"kind is \['trades'\], not a text"),
        (TRADES + "price_decimals = 'x'\n", "price_decimals is 'x', not a number from 4 to 18"),
        (TRADES + "price_decimals = 2\n", "price_decimals is 2, not a number from 4 to 18"),
        (TRADES + "delimiter = ';;'\n", "delimiter is ';;', not one character"),
        (TRADES + "time_unit = 'min'\n", "time_unit is 'min', not one of"),
    ],
)
def test_mapping_when_it_is_wrong_then_refused_in_one_line(mapping: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ts,sym,px,size\n")
    with pytest.raises(FeedUnavailable, match=said):
        read("csv", tmp_path / "a.csv", mapping)


def test_table_when_a_column_is_not_there_or_it_is_none_then_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ts,sym,px\n")
    with pytest.raises(FeedUnreadable, match="no column size; there are: ts, sym, px at byte 0"):
        read("csv", tmp_path / "a.csv", TRADES)
    (tmp_path / "a.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(FeedUnreadable):
        read("parquet", tmp_path / "a.parquet", TRADES)


def test_parquet_when_from_a_pipe_then_refused_with_the_reason(tmp_path: Path) -> None:
    mapping = tmp_path / "a.toml"
    mapping.write_text(TRADES)
    with pytest.raises(FeedUnreadable, match="a pipe, as standard input is, cannot be read"):
        list(reader_ticks("parquet", ("-",), options={"mapping": str(mapping)}))


def test_symbol_when_it_can_be_none_then_the_reason_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ts,sym,px,size\n5,A23456789,1,1\n5,aapl,1,1\n5,A,1,1\n")
    _, report = read("csv", tmp_path / "a.csv", TRADES)
    first, second = (one.detail for one in report.examples)
    assert first == "symbol 'A23456789' as 'A23456789': a symbol has at most 8 characters, not 'A23456789'"
    assert second.startswith("symbol 'aapl' as 'aapl': symbol: ")


@pytest.mark.parametrize("locate", ["65536", "-1", "x"])
def test_reference_when_a_locate_is_none_then_refused_with_its_line(locate: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ts,sym,px,size\n5,A,1,1\n")
    (tmp_path / "ref.csv").write_text(f"source_symbol,locate\nA,1\nB,{locate}\n")
    with pytest.raises(FeedUnavailable, match=r"ref\.csv, line 3: "):
        read("csv", tmp_path / "a.csv", TRADES, reference=str(tmp_path / "ref.csv"))


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("1704214800.5", "s", NOON_NS + 5 * 10**8),
        ("1704214800000", "ms", NOON_NS),
        ("2024-01-02T17:00:00.1234567891Z", "iso", NOON_NS + 123_456_789),
        ("2024-01-02T18:30:00+01:30", "iso", NOON_NS),
    ],
)
def test_time_when_of_any_unit_then_ns(text: str, unit: str, expected: int) -> None:
    assert time_ns(text, unit) == expected
