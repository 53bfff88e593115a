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
    assert sum(report.skipped.values()) == 2
    assert ticks["sequence"][:2].tolist() == [2, 2]


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
