"""Databento files: the project's own decoder beside Databento's, and the exact counts of the reference data."""

import struct
import sys
from pathlib import Path
from typing import Any

import databento_dbn
import numpy as np
import pytest
from common.contracts.ticks import TickKind
from common.feeds import FeedUnreadable
from hypothesis import given
from hypothesis import strategies as st
from ingest.domain.anomalies import AnomalyKind, Report
from ingest.feeds.offline import reader_ticks

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

OfflineMarket = pytest.importorskip("signals.offline", reason="books are made by signals").OfflineMarket

MINUTE_NS = 60_000_000_000
KINDS = {"A": TickKind.ADD, "C": TickKind.CANCEL, "M": TickKind.REPLACE, "T": TickKind.TRADE, "R": TickKind.BOOK_CLEAR}
SIDES = {"B": ord("B"), "A": ord("S"), "N": 0}
AGGRESSORS = {"B": ord("S"), "A": ord("B"), "N": 0}
UNDEFINED = 2**63 - 1


def read(*files: Path, **options: Any) -> tuple[Any, Report]:
    report = Report()
    return np.concatenate(list(reader_ticks("dbn", tuple(map(str, files)), report=report, **options))), report


def refereed(path: Path) -> list[Any]:
    """The records of a file as Databento's own package reads them."""
    decoder = databento_dbn.DBNDecoder()
    decoder.write(zstd.decompress(path.read_bytes()))
    return [record for record in decoder.decode() if hasattr(record, "ts_event")]


def metadata(version: int = 2, symbols: dict[str, int] | None = None) -> bytes:
    """The beginning of a file of version 1 or later."""
    size = 22 if version == 1 else 71
    body = b"GLBX.MDP3".ljust(16, b"\0") + struct.pack("<HQQQ", 0, 0, UNDEFINED, 0)
    body += struct.pack("<Q", 0) + bytes((0, 1, 0)) if version == 1 else bytes((0, 1, 0)) + struct.pack("<H", size)
    body = body.ljust(100, b"\0") + struct.pack("<IIII", 0, 0, 0, 0)
    named = (symbols or {"ESM4": 7}).items()
    body += struct.pack("<I", len(named))
    for name, instrument in named:
        body += name.encode().ljust(size, b"\0") + struct.pack("<III", 1, 20240101, 20240102)
        body += str(instrument).encode().ljust(size, b"\0")
    return struct.pack("<3sBI", b"DBN", version, len(body)) + body


def mbo(
    action: str, side: str, price: int, size: int, order: int = 1, *, at: int = 10**18, instrument: int = 7
) -> bytes:
    """One record of order by order."""
    head = struct.pack("<BBHIQ", 14, 160, 1, instrument, at)
    body = struct.pack("<QqIBBcc", order, price, size, 0, 0, action.encode(), side.encode())
    return head + body + struct.pack("<QiI", at, 0, 0)


# --- reference data -----------------------------------------------------------------------------------------------


def test_mbo_when_read_then_every_record_as_the_referee_says(data_dir: Path) -> None:
    folder = data_dir / "cme_es"
    path = folder / "orderbooks_mbo_2024-05-08T00-00-00_2024-05-08T00-00-02.dbn.zst"
    ticks, report = read(folder / "orderbooks_definition.dbn.zst", path)
    records = refereed(path)
    assert report.messages == len(records) + 1 == 13_797
    assert not report.counts
    expected = []
    for number, record in enumerate(records, 2):
        action, side = str(record.action), str(record.side)
        if action == "F":
            continue
        is_snapshot = int(record.flags) & 0x20
        is_priced = action in "AMT"
        expected.append(
            (
                record.ts_recv if is_snapshot else record.ts_event,
                number,
                record.order_id if action in "ACM" else 0,
                {"M": record.order_id, "T": number}.get(action, 0),
                record.price // 100_000 if is_priced else 0,
                record.size,
                {"A": SIDES, "T": AGGRESSORS}.get(action, {}).get(side, 0),
                KINDS[action],
            )
        )
    columns = ("event_ns", "sequence", "order_ref", "aux_ref", "price_e4", "qty", "side", "kind")
    assert ticks[1:-1][list(columns)].tolist() == expected


def test_mbo_when_applied_then_no_anomaly_and_the_referee_book(data_dir: Path) -> None:
    path = data_dir / "cme_es" / "orderbooks_mbo_2024-05-08T00-00-00_2024-05-08T00-00-02.dbn.zst"
    ticks, _ = read(path)
    market = OfflineMarket([MINUTE_NS])
    changes = [change for _, changed in market.apply(ticks) for change in changed.tolist()]
    assert not any(market.books.anomalies().values())
    orders = dict[int, tuple[str, int, int]]()
    for record in refereed(path):
        action, side = str(record.action), str(record.side)
        if action in "AM":
            orders[record.order_id] = (side, record.price // 100_000, record.size)
        elif action == "C":
            held = orders.pop(record.order_id)
            if held[2] > record.size:
                orders[record.order_id] = (held[0], held[1], held[2] - record.size)
    bid = max(price for side, price, _ in orders.values() if side == "B")
    ask = min(price for side, price, _ in orders.values() if side == "A")
    sizes = [sum(qty for _, at, qty in orders.values() if at == price) for price in (bid, ask)]
    assert changes[-1][2:6] == (bid, sizes[0], ask, sizes[1])


@pytest.mark.parametrize("schema", ["trades", "mbp-1"])
def test_trades_when_folded_then_the_published_minute_bars(data_dir: Path, schema: str) -> None:
    folder = data_dir / "cme_es"
    ticks, report = read(folder / f"futures_{schema}_2024-07-01T23-58_2024-07-02T00-02.dbn.zst")
    assert report.messages == {"trades": 120, "mbp-1": 2_288}[schema]
    market = OfflineMarket([MINUTE_NS])
    names = ("window_start_ns", "open_e4", "high_e4", "low_e4", "close_e4", "volume")
    bars = {bar[0]: bar for issued, _ in market.apply(ticks) for bar in issued[list(names)].tolist()}
    published = refereed(folder / "futures_ohlcv-1m_2024-07-01T23-40_2024-07-02T00-10.dbn.zst")
    expected = {
        bar.ts_event: (
            bar.ts_event,
            *(price // 100_000 for price in (bar.open, bar.high, bar.low, bar.close)),
            bar.volume,
        )
        for bar in published
        if bar.instrument_id == 118 and bar.ts_event in bars
    }
    assert len(bars) == 4
    assert bars == expected


def test_mbp1_when_applied_then_the_best_prices_of_every_record(data_dir: Path) -> None:
    path = data_dir / "cme_es" / "futures_mbp-1_2024-07-01T23-58_2024-07-02T00-02.dbn.zst"
    ticks, _ = read(path)
    market = OfflineMarket([MINUTE_NS])
    last = {change[0]: change[2:6] for _, changes in market.apply(ticks) for change in changes.tolist()}
    best = (0, 0, 0, 0)
    for number, record in enumerate(refereed(path), 1):
        best = last.get(number, best)
        level = record.levels[0]
        assert best == (level.bid_px // 100_000, level.bid_sz, level.ask_px // 100_000, level.ask_sz), number


# --- rules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2, 3])
def test_metadata_when_of_any_version_then_the_symbol(version: int, tmp_path: Path) -> None:
    (tmp_path / "a.dbn").write_bytes(metadata(version, {"ESM4": 7, "NQM4": 8}) + mbo("A", "B", 10**9, 3, instrument=8))
    ticks, _ = read(tmp_path / "a.dbn")
    assert ticks["order_ref"][0].tobytes() == b"NQM4    "


def test_price_when_finer_than_the_scale_then_counted_with_its_offset(tmp_path: Path) -> None:
    """The scale is what the first piece of the file needs, or what a reference file says."""
    reference = tmp_path / "reference.csv"
    reference.write_text("source_symbol,tick\nESM4,0.25\n")
    head = metadata()
    (tmp_path / "a.dbn").write_bytes(head + mbo("A", "B", 250_000_000, 1) + mbo("A", "A", 10_500, 1, 2))
    _ticks, report = read(tmp_path / "a.dbn", options={"reference": str(reference)})
    assert [(case.kind, case.offset, case.sequence) for case in report.examples] == [
        (AnomalyKind.OFF_SCALE, len(head) + 56, 2)
    ]
    finer, report = read(tmp_path / "a.dbn")
    assert not report.counts
    assert finer["price_e4"][1:3].tolist() == [2_500_000, 105]


def test_record_when_of_another_schema_then_passed_over_by_its_length(tmp_path: Path) -> None:
    other = struct.pack("<BBHIQ", 10, 24, 1, 7, 0) + bytes(24)
    (tmp_path / "a.dbn").write_bytes(metadata() + other + mbo("A", "B", 10**9, 3) + mbo("F", "B", 10**9, 3))
    ticks, report = read(tmp_path / "a.dbn")
    assert report.messages == 3
    assert report.skipped == {
        "a record of statistics, which carries no ticks": 1,
        "a record that changes neither book nor volume by itself": 1,
    }
    assert ticks["sequence"][:2].tolist() == [2, 2]


def level_record(kind: int, bid: int, ask: int, bid_qty: int, ask_qty: int, action: str = "A", more: int = 0) -> bytes:
    """A record with a best level, and ``more`` levels behind it."""
    body = struct.pack("<qIccBB", ask, bid_qty, action.encode(), b"B", 0, 0) + struct.pack("<QiI", 10**18, 0, 0)
    body += struct.pack("<qqIIII", bid, ask, bid_qty, ask_qty, 1, 1) + bytes(32) * more
    return struct.pack("<BBHIQ", (16 + len(body)) // 4, kind, 1, 7, 10**18) + body


@pytest.mark.parametrize(
    ("kind", "more"), [(1, 0), (10, 9), (177, 0), (192, 0), (193, 0), (194, 0), (195, 0), (196, 0)]
)
def test_best_prices_when_of_any_schema_that_has_them_then_the_book(kind: int, more: int, tmp_path: Path) -> None:
    records = [
        level_record(kind, 99 * 10**9, 100 * 10**9, 5, 6, more=more),
        level_record(kind, 99 * 10**9, 101 * 10**9, 5, 7, "T", more=more),
    ]
    (tmp_path / "a.dbn").write_bytes(metadata() + b"".join(records))
    ticks, report = read(tmp_path / "a.dbn")
    assert not report.counts
    market = OfflineMarket([MINUTE_NS])
    changes = [change for _, changed in market.apply(ticks) for change in changed.tolist()]
    assert changes[-1][2:6] == (990_000, 5, 1_010_000, 7)
    assert ticks[ticks["kind"] == TickKind.TRADE][["price_e4", "qty"]].tolist() == [(1_010_000, 5)]


def test_top_of_book_when_in_records_of_mbo_then_the_best_price_of_its_side(tmp_path: Path) -> None:
    def top(side: str, price: int, size: int) -> bytes:
        record = bytearray(mbo("A", side, price, size, 0))
        record[36] = 0x40
        return bytes(record)

    records = [top("B", 99 * 10**9, 5), top("A", 100 * 10**9, 6), top("B", 98 * 10**9, 4), top("A", UNDEFINED, 0)]
    (tmp_path / "a.dbn").write_bytes(metadata() + b"".join(records))
    ticks, report = read(tmp_path / "a.dbn")
    market = OfflineMarket([MINUTE_NS])
    changes = [change for _, changed in market.apply(ticks) for change in changed.tolist()]
    assert changes[-1][2:6] == (980_000, 4, 0, 0)
    assert not report.counts
    assert not any(market.books.anomalies().values())


@pytest.mark.parametrize("version", [1, 2, 3])
def test_symbol_when_a_live_session_maps_it_then_the_instruments_name(version: int, tmp_path: Path) -> None:
    size, kind = (22, b"") if version == 1 else (71, b"\1")
    body = kind + b"ES.FUT".ljust(size, b"\0") + kind + b"ESM4".ljust(size, b"\0")
    body += bytes(-(len(body) + 16) % 8) + struct.pack("<QQ", 0, 0)
    mapping = struct.pack("<BBHIQ", (16 + len(body)) // 4, 22, 0, 7, 0) + body
    (tmp_path / "a.dbn").write_bytes(metadata(version, {"OTHER": 9}) + mapping + mbo("A", "B", 10**9, 3))
    ticks, report = read(tmp_path / "a.dbn")
    assert ticks["order_ref"][0].tobytes() == b"ESM4    "
    assert report.skipped == {"a symbol mapping of an instrument": 1}


@pytest.mark.parametrize("noise", [bytes(56), b"\xff" * 33, b"\x0e\x63" + bytes(5)], ids=["zeros", "ones", "no type"])
def test_damage_when_between_records_then_counted_with_its_place_and_read_on(noise: bytes, tmp_path: Path) -> None:
    """Damage lies between two records here: inside one, its rest could not be told from a record."""
    head = metadata() + mbo("A", "B", 10**9, 3) * 4
    (tmp_path / "a.dbn").write_bytes(head + noise + mbo("A", "B", 2 * 10**9, 3, 2) * 4)
    ticks, report = read(tmp_path / "a.dbn")
    (case,) = report.examples
    assert (case.kind, case.offset) == (AnomalyKind.BAD_RECORD, len(head))
    assert case.detail == f"{len(noise)} bytes are no records; the next one begins at byte {len(head) + len(noise)}"
    assert np.count_nonzero(ticks["kind"] == TickKind.ADD) == 8


def test_file_when_its_first_record_is_none_then_refused(tmp_path: Path) -> None:
    (tmp_path / "a.dbn").write_bytes(metadata() + bytes(100))
    with pytest.raises(FeedUnreadable, match="a record of type 0 and 0 words"):
        read(tmp_path / "a.dbn")


def test_file_when_cut_off_then_truncated_with_its_offset(tmp_path: Path) -> None:
    whole = metadata() + mbo("A", "B", 10**9, 3) * 2
    (tmp_path / "a.dbn").write_bytes(whole[:-1])
    _, report = read(tmp_path / "a.dbn")
    assert [(case.kind, case.offset) for case in report.examples] == [(AnomalyKind.TRUNCATED, len(whole) - 56)]


@given(st.binary(max_size=200), st.integers(0, 2**32))
def test_file_when_damaged_anywhere_then_read_to_its_end_or_refused(noise: bytes, at: int) -> None:
    import tempfile

    whole = bytearray(metadata() + b"".join(mbo("A", "B", 10**9 * n, n, n) for n in range(1, 9)))
    at %= len(whole)
    whole[at : at + len(noise)] = noise
    with tempfile.NamedTemporaryFile() as file:
        file.write(whole)
        file.flush()
        try:
            list(reader_ticks("dbn", (file.name,), report=Report()))
        except FeedUnreadable as error:
            assert error.offset <= len(whole)
