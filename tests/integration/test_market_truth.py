"""Books and bars of real and generated feeds against what others computed from the same day or the same bytes."""

import csv
import io
import os
import zipfile
from collections import defaultdict
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from common.contracts.ticks import TickKind
from common.contracts.values import E4
from ingest.domain.anomalies import Report
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from ingest.domain.feed_date import session_midnight_ns
from ingest.offline import tick_chunks
from itchcpp.book import BookManager
from numpy.typing import NDArray
from signals.offline import OfflineMarket, write_csv

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
EXECUTED, EXECUTED_HIDDEN = 4, 5
"""LOBSTER event types."""


@pytest.fixture(scope="module")
def data() -> Path:
    """The folder of exchange data."""
    where = Path(os.environ.get("TIDEMARK_DATA", ""))
    if not where.parts or not (where / "lobster_aapl").is_dir():
        pytest.skip("TIDEMARK_DATA does not name a folder with exchange data")
    return where


@pytest.fixture(scope="module")
def aapl(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CSV files of the AAPL day."""
    (feed,) = (data / "lobster_aapl").glob("*.itch.gz")
    out = tmp_path_factory.mktemp("aapl")
    report = Report()
    summary = write_csv(tick_chunks(feed, report=report), out)
    assert summary.ticks == report.ticks + 1  # and the heartbeat that ends the day
    assert not report.counts
    assert not any(summary.anomalies.values())
    return out


def test_lobster_itch_when_decoded_then_each_of_its_messages_is_a_tick_of_the_types_it_has(data: Path) -> None:
    (feed,) = (data / "lobster_aapl").glob("*.itch.gz")
    report = Report()
    kinds = {chr(kind) for ticks in tick_chunks(feed, report=report) for kind in np.unique(ticks["kind"])}
    assert (report.messages, report.ticks, dict(report.counts)) == (193_398, 193_398, {})
    assert kinds - {chr(TickKind.HEARTBEAT)} == set("SRHAEXDP")


def published(data: Path, part: str) -> NDArray[np.float64]:
    """A file of the LOBSTER archive."""
    (path,) = (data / "lobster_aapl").glob("*.zip")
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if part in name)
        return np.loadtxt(io.BytesIO(archive.read(name)), delimiter=",")


def test_lobster_book_when_rows_are_compared_then_every_row_is_equal(data: Path, aapl: Path) -> None:
    rows = published(data, "orderbook").astype(np.int64)
    (index,) = (data / "lobster_aapl").glob("*.idx.gz")
    messages = np.loadtxt(index, dtype=np.int64)
    changes = np.loadtxt(aapl / "bbo.csv", delimiter=",", skiprows=1, usecols=(0, 2, 3, 4, 5), dtype=np.int64)
    last_change = np.searchsorted(changes[:, 0], messages, side="right") - 1
    bid_e4, bid_size, ask_e4, ask_size = changes[last_change, 1:].T
    built = np.stack((ask_e4, ask_size, bid_e4, bid_size), axis=1)
    # An empty side is written by LOBSTER as a price of +-9999999999 with no shares.
    rows[:, [0, 2]] = np.where(np.abs(rows[:, [0, 2]]) == 9_999_999_999, 0, rows[:, [0, 2]])
    assert len(rows) == len(messages) == 118_497
    assert int((built == rows).all(axis=1).sum()) == 118_497


def test_lobster_bars_when_folded_from_the_message_file_then_every_minute_is_equal(data: Path, aapl: Path) -> None:
    with (aapl / "bars.csv").open() as file:
        bars = [row for row in csv.DictReader(file) if int(row["window_ns"]) == MINUTE_NS]
    midnight_ns = session_midnight_ns(date(2012, 6, 21))
    expected: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for at_s, event, _, shares, price_e4, _ in published(data, "message"):
        if int(event) in (EXECUTED, EXECUTED_HIDDEN):
            expected[midnight_ns + int(at_s) // 60 * MINUTE_NS].append((int(price_e4), int(shares)))
    assert len(bars) == len(expected)
    for bar in bars:
        trades = expected[int(bar["window_start_ns"])]
        prices = [price_e4 for price_e4, _ in trades]
        volume = sum(shares for _, shares in trades)
        notional_e4 = sum(price_e4 * shares for price_e4, shares in trades)
        assert bar == {
            "symbol": "AAPL",
            "window_start_ns": bar["window_start_ns"],
            "window_ns": str(MINUTE_NS),
            "open_e4": str(prices[0]),
            "high_e4": str(max(prices)),
            "low_e4": str(min(prices)),
            "close_e4": str(prices[-1]),
            "volume": str(volume),
            "trades": str(len(trades)),
            "notional_e4": str(notional_e4),
            "vwap_e4": str(notional_e4 // volume),
            "revision": "0",
        }


def test_artificial_feed_when_run_then_what_fits_no_order_is_counted(data: Path, tmp_path: Path) -> None:
    (feed,) = (data / "itch_artificial").glob("*.gz")
    day, report = date(2010, 12, 24), Report()
    summary = write_csv(tick_chunks(feed, day, report=report), tmp_path)
    assert report.messages == 12_012
    assert summary.ticks == report.ticks + 1
    open_shares: dict[int, int] = {}
    strangers = 0
    for tick in np.concatenate(list(tick_chunks(feed, day))):
        kind, ref, qty = chr(tick["kind"]), int(tick["order_ref"]), int(tick["qty"])
        if kind in "AF":
            open_shares[ref] = qty
        elif kind in "ECXDU":
            strangers += ref not in open_shares
            if kind in "DU":
                known = open_shares.pop(ref, 0)
                if kind == "U" and known:
                    open_shares[int(tick["aux_ref"])] = qty
            elif ref in open_shares:
                open_shares[ref] -= qty
                if open_shares[ref] <= 0:
                    del open_shares[ref]
    assert summary.anomalies["unknown_ref"] == strangers
    assert sum(summary.anomalies.values()) == strangers + summary.anomalies["unpriced_trade"]


EXCHANGE = ExchangeOptions(symbols=40, seed=11, rate=20_000, messages=150_000, halts_per_million=40)
DAY = date(2024, 3, 15)


def test_generated_feed_when_a_referee_builds_the_books_then_best_prices_and_sizes_are_equal(tmp_path: Path) -> None:
    chunks = list(exchange_chunks(EXCHANGE, chunk_bytes=1 << 16))
    feed = tmp_path / "generated.itch"
    feed.write_bytes(b"".join(chunks))
    ticks = np.concatenate(list(tick_chunks(feed, DAY)))
    kinds = set(map(chr, np.unique(ticks["kind"])))
    assert set("AFECXDUPQI") <= kinds
    market, referee = OfflineMarket(), BookManager()
    at = compared = 0
    for chunk in chunks:
        referee.process_stream(chunk)
        end = at + count_messages(chunk)
        for _ in market.apply(ticks[at:end]):
            pass
        at = end
        for instrument, symbol in enumerate(market.books.symbols.tolist()):
            if symbol.startswith(b"#"):
                continue
            bid, ask = market.books.sides[2 * instrument : 2 * instrument + 2]
            book = referee.book_for_symbol(symbol.decode())
            if book is None:  # no order yet
                assert not market.books.sides["levels"][2 * instrument : 2 * instrument + 2].any()
                continue
            bbo = book.bbo()
            assert (bid["best_e4"], bid["best_size"]) == (round(bbo.bid_price * E4) * bbo.has_bid, bbo.bid_shares)
            assert (ask["best_e4"], ask["best_size"]) == (round(bbo.ask_price * E4) * bbo.has_ask, bbo.ask_shares)
            compared += 1
    assert compared > 1_000
    assert not any((market.books.anomalies() | market.bars.anomalies()).values())


def count_messages(chunk: bytes) -> int:
    """How many length-prefixed messages there are."""
    at = messages = 0
    while at < len(chunk):
        at += 2 + int.from_bytes(chunk[at : at + 2], "big")
        messages += 1
    return messages
