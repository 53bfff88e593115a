"""LOBSTER, Kraken and Binance: the exact counts of the reference data, the exchange's own checks, and their faults."""

import gzip
import json
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common.contracts.ticks import TickKind
from common.feeds import FeedUnavailable, FeedUnreadable, scaled
from ingest.domain.anomalies import AnomalyKind, Report
from ingest.domain.lines import lines
from ingest.feeds.offline import reader_ticks
from ingest.offline import tick_chunks

OfflineMarket = pytest.importorskip("signals.offline", reason="books are made by signals").OfflineMarket

MINUTE_NS = 60_000_000_000
LOBSTER = "lobster_aapl/LOBSTER_SampleFile_AAPL_2012-06-21_1.zip"
KRAKEN = "kraken_l2_crc32/KRAKEN.ws.50.0.gz"
BINANCE = "binance_btcusdt/spot_btcusdt_20240808.gz"


def read(name: str, *files: Path, **options: Any) -> tuple[Any, Report]:
    report = Report()
    return np.concatenate(list(reader_ticks(name, tuple(map(str, files)), report=report, **options))), report


def applied(ticks: Any) -> tuple[list[Any], list[Any], Any]:
    """Bars of a minute, changes of the best prices, and the market."""
    market = OfflineMarket([MINUTE_NS])
    bars, changes = list[Any](), list[Any]()
    for issued, changed in market.apply(ticks):
        bars += issued.tolist()
        changes += changed.tolist()
    assert not any(market.books.anomalies().values())
    return bars, changes, market


# --- Kraken's own bars --------------------------------------------------------------------------------------------


def test_trades_when_folded_then_the_exchanges_own_minutes_on_every_field(data_dir: Path, tmp_path: Path) -> None:
    """Its VWAP is truncated to a tenth; a minute without a trade repeats the last close."""
    folder = data_dir / "kraken_ohlc"
    pair = "XBTUSDT"
    trades = json.loads((folder / "http_trades.json").read_text(), parse_float=str)["result"][pair]
    told = json.loads((folder / "http_ohlc.json").read_text())["result"][pair]
    (tmp_path / "a.csv").write_text("t,p,q\n" + "".join(f"{trade[2]},{trade[0]},{trade[1]}\n" for trade in trades))
    mapping = tmp_path / "a.toml"
    names = 'kind = "trades"\ntime = "t"\ntime_unit = "s"\nprice = "p"\nqty = "q"\nqty_decimals = 8\n'
    mapping.write_text(f'{names}symbol_value = "{pair}"\n')
    ticks, report = read("csv", tmp_path / "a.csv", options={"mapping": str(mapping)})
    assert report.messages == len(trades) == 1_000
    assert not report.counts
    market = OfflineMarket([MINUTE_NS])
    rows = [row for issued, _ in market.apply(ticks) for row in issued]
    bars = {int(row["window_start_ns"]) // 10**9: row for row in [*rows, *market.close()]}
    first, last = float(trades[0][2]), float(trades[-1][2])
    traded = empty = 0
    close = 0
    for start, *prices, vwap, volume, count in told:
        units = [scaled(price, 4) for price in prices]
        if first < start <= last and count:
            row = bars[start]
            assert [row[f"{name}_e4"] for name in ("open", "high", "low", "close")] == units
            assert (row["volume"], row["trades"]) == (scaled(volume, 8), count)
            assert int(row["notional_e4"]) // (int(row["volume"]) * 1_000) == scaled(vwap, 1)
            traded += 1
        elif first < start <= last:
            assert start not in bars
            assert units == [close] * 4
            empty += 1
        close = units[3] or 0
    assert (traded, empty) == (273, 137)


# --- LOBSTER ------------------------------------------------------------------------------------------------------


def test_lobster_when_read_then_every_row_of_the_book_and_the_bars_of_the_itch_stream(data_dir: Path) -> None:
    path = data_dir / LOBSTER
    ticks, report = read("lobster", path)
    assert report.messages == 118_497
    assert not report.counts
    bars, changes, _ = applied(ticks)
    after = {change[0]: change[2:6] for change in changes}
    with zipfile.ZipFile(path) as archive:
        text = archive.read("AAPL_2012-06-21_34200000_57600000_orderbook_1.csv").split()
    best = (0, 0, 0, 0)
    for number, row in enumerate(text, 1):
        ask, ask_size, bid, bid_size = map(int, row.split(b","))
        best = after.get(number, best)
        assert best == (bid, bid_size, ask, ask_size), number
    itch = np.concatenate(list(tick_chunks(data_dir / "lobster_aapl" / "AAPL_2012-06-21_1.itch.gz")))
    assert [bar[1:] for bar in bars] == [bar[1:] for bar in applied(itch)[0]]


def test_lobster_when_only_messages_then_order_by_order(tmp_path: Path) -> None:
    path = tmp_path / "ACME_2024-01-02_34200000_57600000_message_1.csv"
    path.write_text(
        "34200.000000001,1,7,100,100000,1\n34200.1,2,7,30,100000,1\n34200.2,4,7,20,100000,1\n34200.3,5,0,9,100100,-1\n"
        "34200.4,3,7,50,100000,1\n34200.5,7,0,0,-1,-1\nnonsense\n34200.6,9,1,1,1,1\n"
    )
    ticks, report = read("lobster", path)
    assert [chr(kind) for kind in ticks["kind"][:-1]] == ["R", "A", "X", "E", "P", "D", "H"]
    assert ticks["event_ns"][1] % 10**9 == 1
    assert report.counts == {AnomalyKind.BAD_RECORD: 2}
    assert report.examples[0].offset == path.read_bytes().index(b"nonsense")


def test_lobster_when_no_day_is_said_then_refused(tmp_path: Path) -> None:
    with pytest.raises(FeedUnavailable, match="needs a day"):
        read("lobster", tmp_path / "message.csv")


# --- Kraken -------------------------------------------------------------------------------------------------------


def test_kraken_when_read_then_every_checksum_agrees(data_dir: Path) -> None:
    ticks, report = read("kraken", data_dir / KRAKEN)
    assert not report.counts
    verified = [count for reason, count in report.skipped.items() if reason.startswith("a checksum that agrees")]
    assert verified == [4_269]
    applied(ticks)


def kraken(*messages: Any) -> str:
    return "".join(f"1618678132.5: {json.dumps(message)}\n" for message in messages)


def level(price: str, qty: str) -> list[str]:
    return [price, qty, "1618678132.481570"]


def book(parts: dict[str, Any]) -> list[Any]:
    return [7, parts, "book-10", "XBT/USD"]


SNAPSHOT = book({"as": [level("101.50000", "2.000")], "bs": [level("100.00000", "1.500")]})


def checked(bid: tuple[str, str], ask: tuple[str, str]) -> str:
    digits = [text.replace(".", "").lstrip("0") for text in (*ask, *bid)]
    return str(zlib.crc32("".join(digits).encode()))


def test_kraken_when_a_checksum_is_wrong_then_the_book_is_emptied_and_waits_for_a_snapshot(tmp_path: Path) -> None:
    good = {"b": [level("100.00000", "1.000")], "c": checked(("100.00000", "1.000"), ("101.50000", "2.000"))}
    bad = {"a": [level("101.60000", "1.000")], "c": "1"}
    path = tmp_path / "capture"
    path.write_text(kraken(SNAPSHOT, book(good), book(bad), book(good), SNAPSHOT, {"event": "heartbeat"}, {"event": 1}))
    ticks, report = read("kraken", path)
    assert report.counts == {AnomalyKind.BAD_CHECKSUM: 1, AnomalyKind.BAD_RECORD: 1}
    assert report.skipped["an update of a book that waits for its snapshot"] == 1
    _, changes, _ = applied(ticks)
    assert changes[-1][2:6] == (1_000_000, 1_500, 1_015_000, 2_000)
    assert (0, 0, 0, 0) in [change[2:6] for change in changes]


def test_kraken_when_of_the_protocols_second_version_then_each_message_is_counted_by_that_name(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    second = {"channel": "book", "type": "snapshot", "data": [{"symbol": "XBT/USD", "bids": [], "asks": []}]}
    path.write_text(kraken(SNAPSHOT, second, {"method": "subscribe", "success": True}))
    _, report = read("kraken", path)
    assert report.counts == {AnomalyKind.BAD_RECORD: 2}
    assert "a message of WebSocket v2, which is not read" in report.examples[0].detail


def test_kraken_when_trades_then_on_the_scale_of_the_reference_file(tmp_path: Path) -> None:
    path, reference = tmp_path / "capture", tmp_path / "reference.csv"
    trades = [
        ["5541.20000", "0.1500", "1534614057.321597", "s", "l", ""],
        ["5541.2", "0.15001", "1534614057.4", "b", "m", ""],
    ]
    path.write_text(kraken([0, trades, "trade", "XBT/USD"]))
    reference.write_text("source_symbol,symbol,lot\nXBT/USD,BTCUSD,0.0001\n")
    ticks, report = read("kraken", path, options={"reference": str(reference)})
    assert report.counts == {AnomalyKind.OFF_SCALE: 1}
    assert ticks[["event_ns", "price_e4", "qty", "side"]][1].tolist() == (
        1_534_614_057_321_597_000,
        55_412_000,
        1_500,
        66,
    )
    assert ticks["order_ref"][0].tobytes() == b"BTCUSD  "


# --- Binance ------------------------------------------------------------------------------------------------------


def test_binance_when_read_then_every_best_price_agrees_and_nothing_is_missing(data_dir: Path) -> None:
    ticks, report = read("binance", data_dir / BINANCE)
    assert report.messages == 41_249
    assert not report.counts
    assert report.skipped["a bookTicker that agrees with the book at its update"] == 564
    with gzip.open(data_dir / BINANCE) as file:
        trades = [json.loads(line.partition(b" ")[2])["data"] for line in file if b"@trade" in line]
    told = ticks[ticks["kind"] == TickKind.TRADE]
    assert told["aux_ref"].tolist() == [trade["t"] for trade in trades]
    assert [f"{price / 10**4:.8f}" for price in told["price_e4"].tolist()] == [trade["p"] for trade in trades]
    applied(ticks)


def binance(*messages: dict[str, Any]) -> str:
    return "".join(f"1723161253937085768 {json.dumps({'stream': 'x', 'data': message})}\n" for message in messages)


def update(first: int, last: int, bids: list[list[str]], asks: list[list[str]]) -> dict[str, Any]:
    return {
        "e": "depthUpdate",
        "E": 1_723_161_255_000 + last,
        "s": "ABCUSDT",
        "U": first,
        "u": last,
        "b": bids,
        "a": asks,
    }


def test_binance_when_updates_are_missing_then_counted_and_the_book_waits_for_a_snapshot(tmp_path: Path) -> None:
    snapshot = {"lastUpdateId": 100, "bids": [["10.00", "1.0"]], "asks": [["10.10", "2.0"]]}
    later = {"lastUpdateId": 120, "bids": [["9.90", "3.0"]], "asks": [["10.20", "4.0"]]}
    ticker = {"u": 105, "s": "ABCUSDT", "b": "10.00", "B": "1.5", "a": "10.10", "A": "9.0"}
    path = tmp_path / "capture"
    path.write_text(
        binance(update(90, 99, [], []), update(100, 102, [["10.00", "1.2"]], []))
        + f"1 {json.dumps(snapshot)}\n"
        + binance(ticker, update(103, 105, [["10.00", "1.5"]], []), update(110, 119, [], []))
        + f"1 {json.dumps(later)}\n"
        + binance(update(121, 122, [["9.90", "0"]], []))
    )
    ticks, report = read("binance", path)
    assert report.counts == {AnomalyKind.SEQUENCE_GAP: 4, AnomalyKind.BAD_CHECKSUM: 1}
    _, changes, _ = applied(ticks)
    best = [change[2:6] for change in changes]
    assert (100_000, 15, 101_000, 20) in best
    assert best[-1] == (0, 0, 102_000, 40)


def test_binance_when_trades_are_missing_or_twice_then_counted(tmp_path: Path) -> None:
    def trade(number: int, qty: str = "0.5") -> dict[str, Any]:
        times = {"E": 1_723_161_255_343, "T": 1_723_161_255_342}
        return {"e": "trade", **times, "s": "ABCUSDT", "t": number, "p": "10.0", "q": qty, "m": True}

    path = tmp_path / "capture"
    path.write_text(binance(trade(7), trade(8), trade(8), trade(12)) + "5 {]\n")
    ticks, report = read("binance", path)
    assert report.counts == {AnomalyKind.DUPLICATE: 1, AnomalyKind.SEQUENCE_GAP: 3, AnomalyKind.BAD_RECORD: 1}
    assert ticks["aux_ref"][ticks["kind"] == TickKind.TRADE].tolist() == [7, 8, 12]


def test_binance_when_updates_name_the_one_before_as_of_futures_then_no_gap_where_numbers_jump(tmp_path: Path) -> None:
    snapshot = {"lastUpdateId": 100, "bids": [["10.00", "1.0"]], "asks": [["10.10", "2.0"]]}
    path = tmp_path / "capture"
    path.write_text(
        binance(update(95, 105, [["10.00", "1.2"]], []) | {"pu": 90})
        + f"1 {json.dumps(snapshot)}\n"
        + binance(update(120, 130, [["10.01", "1.5"]], []) | {"pu": 105}, update(140, 150, [], []) | {"pu": 131})
    )
    ticks, report = read("binance", path)
    assert report.counts == {AnomalyKind.SEQUENCE_GAP: 9}  # 131 to 139 at most, of an update that is not there
    _, changes, _ = applied(ticks)
    assert [change[2:6] for change in changes][-3] == (100_100, 15, 101_000, 20)


def test_binance_when_trades_and_aggregate_trades_are_captured_then_their_volume_counts_once(tmp_path: Path) -> None:
    single = {"e": "trade", "E": 1, "T": 1, "s": "ABCUSDT", "t": 7, "p": "10.0", "q": "0.5", "m": True}
    aggregate = {
        "e": "aggTrade",
        "E": 1,
        "T": 1,
        "s": "ABCUSDT",
        "a": 3,
        "p": "10.0",
        "q": "1.0",
        "f": 7,
        "l": 8,
        "m": True,
    }
    path = tmp_path / "capture"
    path.write_text(binance(single, single | {"t": 8}, aggregate, single | {"t": 9}, aggregate | {"a": 4}))
    ticks, report = read("binance", path)
    assert not report.counts
    assert report.skipped["a trade that is in the trades of the other kind"] == 2
    assert ticks["aux_ref"][ticks["kind"] == TickKind.TRADE].tolist() == [7, 8, 9]


@pytest.mark.parametrize("levels", [1, 5, 10])
def test_lobster_when_of_any_number_of_levels_then_the_books_of_every_row(levels: int, tmp_path: Path) -> None:
    """In files and in one archive; two days at once are refused."""
    names = [f"INTC_2012-06-21_34200000_57600000_{part}_{levels}.csv" for part in ("message", "orderbook")]
    sides = [[1_000_100 + 100 * at, 50 + at, 1_000_000 - 100 * at, 60] for at in range(levels)]
    rows = [[value + 100 * (row % 3) for level in sides for value in level] for row in range(40)]
    texts = [
        "".join(f"{34_200 + row / 10:.9f},{1 if row % 3 else 4},{row},10,1000000,1\n" for row in range(40)),
        "".join(",".join(map(str, row)) + "\n" for row in rows),
    ]
    for name, text in zip(names, texts, strict=True):
        (tmp_path / name).write_text(text)
    archive = tmp_path / f"LOBSTER_SampleFile_INTC_2012-06-21_{levels}.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("LOBSTER_SampleFiles_ReadMe.txt", "read me")
        for name in names:
            packed.write(tmp_path / name, name)
    ticks, report = read("lobster", *(tmp_path / name for name in names))
    assert not report.counts
    assert np.array_equal(ticks, read("lobster", archive)[0])
    _, changes, _ = applied(ticks)
    last = {change[0]: change[2:6] for change in changes}
    for number, best in last.items():
        ask, ask_size, bid, bid_size = rows[number - 1][:4]
        assert best == (bid, bid_size, ask, ask_size)
    with pytest.raises(FeedUnreadable, match="two message files; read one day at a time"):
        read("lobster", archive, tmp_path / names[0])
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(FeedUnreadable, match="its list of members is not there"):
        read("lobster", archive)


@pytest.mark.parametrize("split", [lambda text: [text], lambda text: [text[at : at + 1] for at in range(len(text))]])
def test_lines_when_in_any_pieces_then_each_with_its_offset(split: Callable[[bytes], list[bytes]]) -> None:
    assert list(lines(split(b"a\r\n\nbc\nd"))) == [(0, b"a"), (4, b"bc"), (7, b"d")]
