"""The live client beside a server of Kraken's protocol that goes away, falls silent and sends a wrong checksum."""

import gzip
import json
import random
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common.feeds import FeedUnavailable
from ingest.domain.anomalies import AnomalyKind, Report
from ingest.domain.instruments import InstrumentRegistry
from ingest.feeds.installed import feed_reader
from ingest.feeds.kraken import VERIFIED, captured_message
from ingest.feeds.reading import Reading
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

OfflineMarket = pytest.importorskip("signals.offline", reason="books are made by signals").OfflineMarket

PAIR = "XBT/USD"
UPDATES = 40


class Exchange:
    """One book that goes on changing, whoever listens. Each connection gets a snapshot and ``UPDATES`` updates."""

    def __init__(self, *, wrong_checksum_at: int = -1, silent: bool = False) -> None:
        self.bids = {100_000 - at: 5 for at in range(10)}
        self.asks = {100_100 + at: 5 for at in range(10)}
        self.connections = 0
        self.subscriptions = list[dict[str, Any]]()
        self._random = random.Random(7)
        self._time = 1_618_678_132
        self._wrong_checksum_at = wrong_checksum_at
        self._silent = silent

    def serve(self, connection: ServerConnection) -> None:
        self.connections += 1
        try:
            asked = [json.loads(connection.recv(5)) for _ in range(2)]
            self.subscriptions += asked
            connection.send(json.dumps({"event": "systemStatus", "status": "online"}))
            connection.send(json.dumps(self.snapshot()))
            for number in range(UPDATES):
                self.change()
                connection.send(json.dumps(self.update(wrong=number == self._wrong_checksum_at)))
                if number == self._wrong_checksum_at:
                    self.subscriptions += [json.loads(connection.recv(5)) for _ in range(2)]
                    connection.send(json.dumps(self.snapshot()))
            if self._silent:
                time.sleep(0.6)
            for _ in range(3):  # what happens while nobody listens
                self.change()
        except ConnectionClosed:
            pass

    def change(self) -> None:
        self._changed = dict[str, list[list[str]]]()
        for name, side in (("b", self.bids), ("a", self.asks)):
            price = self._random.choice(list(side))
            side[price] = self._random.randint(1, 90)
            self._changed[name] = [self.level(price, side[price])]

    def level(self, price: int, qty: int) -> list[str]:
        self._time += 1
        return [f"{price / 10:.1f}", f"{qty / 1_000:.8f}", f"{self._time}.000001"]

    def snapshot(self) -> list[Any]:
        parts = {"as": self.sorted(self.asks), "bs": self.sorted(self.bids)}
        return [1, parts, "book-10", PAIR]

    def sorted(self, side: dict[int, int]) -> list[list[str]]:
        prices = sorted(side, reverse=side is self.bids)
        return [self.level(price, side[price]) for price in prices]

    def update(self, *, wrong: bool) -> list[Any]:
        levels = [*self.sorted(self.asks)[:10], *self.sorted(self.bids)[:10]]
        digits = "".join(text.replace(".", "").lstrip("0") for level in levels for text in level[:2])
        checksum = zlib.crc32(digits.encode()) ^ int(wrong)
        return [1, {"b": self._changed["b"]}, {"a": self._changed["a"], "c": str(checksum)}, "book-10", PAIR]


class ReplayedCapture:
    """The exchange's own messages of a real capture. The connection breaks after so many of them; the next one has them
    from the start, as a new subscription has its snapshots.
    """

    def __init__(self, messages: list[bytes], *cuts: int) -> None:
        self.messages = messages
        self.connections = 0
        self._cuts = cuts

    def serve(self, connection: ServerConnection) -> None:
        cut = self._cuts[self.connections] if self.connections < len(self._cuts) else len(self.messages)
        self.connections += 1
        try:
            for _ in range(2):
                connection.recv(5)
            for message in self.messages[:cut]:
                connection.send(message.decode())
        except ConnectionClosed:
            pass


@contextmanager
def running(exchange: Exchange | ReplayedCapture) -> Iterator[str]:
    server: Server = serve(exchange.serve, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
    finally:
        server.shutdown()
        thread.join()


def received(address: str, *, next_sequence: int = 1, **options: str) -> tuple[Any, Report]:
    report = Report()
    reading = Reading(
        feed_reader("kraken-live"),
        (address,),
        options={"pairs": PAIR, **options},
        day=None,
        registry=InstrumentRegistry(),
        report=report,
        next_sequence=next_sequence,
    )
    return np.concatenate(list(reading)), report


def best(ticks: Any) -> list[tuple[int, int, int, int]]:
    market = OfflineMarket([60_000_000_000])
    changes = [change[2:6] for _, changed in market.apply(ticks) for change in changed.tolist()]
    assert not any(market.books.anomalies().values())
    return changes


def test_live_when_disconnected_then_the_book_goes_on_and_every_checksum_agrees() -> None:
    exchange = Exchange()
    with running(exchange) as address:
        ticks, report = received(address, connections_max="3")
    assert exchange.connections == 3
    assert report.counts == {AnomalyKind.DISCONNECT: 3}
    assert sum(count for why, count in report.skipped.items() if "checksum that agrees" in why) == 3 * UPDATES
    assert np.all(np.diff(ticks["sequence"].astype(np.int64)) >= 0)
    assert len(best(ticks))
    assert [one["subscription"]["name"] for one in exchange.subscriptions] == ["book", "trade"] * 3


def test_live_when_a_checksum_is_wrong_then_the_book_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.feeds.kraken_live.ASK_AGAIN_S", 0.0)
    exchange = Exchange(wrong_checksum_at=10)
    with running(exchange) as address:
        ticks, report = received(address, connections_max="1")
    assert report.counts == {AnomalyKind.BAD_CHECKSUM: 1, AnomalyKind.DISCONNECT: 1}
    assert [one["event"] for one in exchange.subscriptions[2:]] == ["unsubscribe", "subscribe"]
    assert (0, 0, 0, 0) in best(ticks)


def test_live_when_the_server_falls_silent_then_connected_again() -> None:
    exchange = Exchange(silent=True)
    with running(exchange) as address:
        _, report = received(address, connections_max="2", silent_s="0.3")
    assert exchange.connections == 2
    assert report.counts[AnomalyKind.DISCONNECT] == 2


def test_live_when_the_process_was_restarted_then_the_book_is_emptied_before_its_snapshot() -> None:
    with running(Exchange()) as address:
        ticks, _ = received(address, next_sequence=1_000, connections_max="1")
    assert [chr(kind) for kind in ticks["kind"][:3]] == ["R", "Z", "A"]
    assert ticks["sequence"][0] >= 1_000


def test_live_when_nobody_answers_then_counted_and_time_is_known_to_pass() -> None:
    report = Report()
    options = {"pairs": PAIR, "connections_max": "1"}
    reading = Reading(
        *(feed_reader("kraken-live"), ("ws://127.0.0.1:9",)),
        options=options, day=None, registry=InstrumentRegistry(), report=report,
    )  # fmt: skip
    assert not sum(len(ticks) for ticks in reading)
    assert report.counts == {AnomalyKind.DISCONNECT: 1}


def test_live_when_a_real_capture_is_replayed_with_disconnects_then_every_checksum_agrees(data_dir: Path) -> None:
    with gzip.open(data_dir / "kraken_l2_crc32" / "KRAKEN.ws.50.0.gz") as capture:
        messages = [message for line in capture if (message := captured_message(line.strip()))]
    exchange = ReplayedCapture(messages, 1_000, 50, 3_000)
    with running(exchange) as address:
        _, report = received(address, pairs="XMR/USD,ADA/XBT", depth="1000", connections_max="4")
    checked = [sum(b'"c":"' in message for message in messages[:cut]) for cut in (1_000, 50, 3_000, len(messages))]
    assert report.skipped[VERIFIED] == sum(checked)
    assert checked[-1] == 4_269
    assert report.counts == {AnomalyKind.DISCONNECT: 4}


@pytest.mark.parametrize(
    ("option", "value"),
    [("depth", "x"), ("depth", "0"), ("connections_max", "-1"), ("silent_s", "0"), ("silent_s", "x")],
)
def test_live_when_an_option_is_no_number_then_refused(option: str, value: str) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(FeedUnavailable, match=f"--option {option}: '{value}'"):
        received("ws://127.0.0.1:9", **options)


def test_live_when_no_pair_is_named_then_refused() -> None:
    with pytest.raises(FeedUnavailable, match="needs --option pairs"):
        received("ws://127.0.0.1:9", pairs="")
