"""Questions about a symbol to a signals worker on a real broker: now, as of a record, as of a time; and from the
command line. The referee folds the same frames by itself.
"""

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from common.contracts.market_events import MarketEvent, MarketEventKind
from common.contracts.problems import problem_type
from common.contracts.reference import Instrument
from common.contracts.ticks import TickKind, encode_frame, heartbeat, ref_to_symbol, symbol_to_ref
from common.contracts.topics import MD_EVENTS, MD_TICKS, REF_INSTRUMENTS, market_partition
from common.fleet_topics import create_topics
from common.testing.market_flow import row, tick_array
from ingest.domain.exchange import ExchangeOptions, exchange_chunks
from ingest.domain.partitions import deal
from ingest.offline import tick_chunks
from parts import LocalStack
from signals.domain.venue_silence import SILENCE_NS
from streams.edges.sender import Sender
from streams.process.settings import KafkaSettings, RedisSettings, Settings

from tests.integration.signals_worker import Worker
from tests.integration.test_market_recovery import ENVIRONMENT

pytestmark = pytest.mark.slow
OPTIONS = ExchangeOptions(symbols=6, seed=11, rate=2_000, messages=6_000)
FRAME_TICKS = 100
DEADLINE_S = 180
Sides = tuple[list[tuple[int, int]], list[tuple[int, int]]]
"""(price, size) of bids and asks, best first."""


class Referee:
    """The books of a partition as dicts of orders: nothing of it is ours but the layout of a tick."""

    def __init__(self) -> None:
        self._orders: dict[int, tuple[int, str, int, int]] = {}

    def apply(self, ticks: Any) -> None:
        for tick in ticks:
            kind, ref = chr(tick["kind"]), int(tick["order_ref"])
            if kind in "AF":
                side = chr(tick["side"])
                self._orders[ref] = (int(tick["instrument_id"]), side, int(tick["price_e4"]), int(tick["qty"]))
            elif kind in "ECX" and ref in self._orders:
                instrument, side, price, qty = self._orders[ref]
                self._orders[ref] = (instrument, side, price, qty - int(tick["qty"]))
                if qty <= tick["qty"]:
                    del self._orders[ref]
            elif kind == "D":
                self._orders.pop(ref, None)
            elif kind == "U" and ref in self._orders:
                instrument, side, _, _ = self._orders.pop(ref)
                self._orders[int(tick["aux_ref"])] = (instrument, side, int(tick["price_e4"]), int(tick["qty"]))

    def depth(self, instrument: int) -> Sides:
        sides: dict[str, dict[int, int]] = {"B": {}, "S": {}}
        for own, side, price, qty in self._orders.values():
            if own == instrument:
                sides[side][price] = sides[side].get(price, 0) + qty
        return sorted(sides["B"].items(), reverse=True)[:10], sorted(sides["S"].items())[:10]


class Asked(Worker):
    """A worker that is asked."""

    def __init__(self, parts: LocalStack, directory: Path) -> None:
        asked = {"TIDEMARK_QUERY_REPLAY_TIMEOUT_S": str(DEADLINE_S), "TIDEMARK_MEASURES": "[]"}
        super().__init__(parts, directory, ENVIRONMENT | asked)
        self.url = f"http://127.0.0.1:{self._port}"

    async def ask(self, path: str, **asked: int) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.url, timeout=DEADLINE_S + 20) as client:
            return await client.get(f"/v1/markets/{path}", params=asked)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """Ticks of each frame, by partition, with a heartbeat at the end of each."""
    feed = tmp_path_factory.mktemp("feed") / "generated.itch"
    feed.write_bytes(b"".join(exchange_chunks(OPTIONS)))
    ticks = np.concatenate(list(tick_chunks(feed, date(2024, 3, 15))))
    found: list[list[Any]] = [[] for _ in range(MD_TICKS.partitions)]
    for at in range(0, len(ticks), FRAME_TICKS):
        now = heartbeat(int(ticks["event_ns"][: at + FRAME_TICKS].max()))
        for partition, dealt in enumerate(deal(ticks[at : at + FRAME_TICKS], MD_TICKS.partitions)):
            found[partition].append(np.concatenate((dealt, now)))
    return found


@pytest.fixture(scope="module")
def parts() -> Iterator[LocalStack]:
    """Parts of this module's own, since its topics have their real names."""
    with LocalStack() as running:
        yield running


@pytest.fixture
async def worker(parts: LocalStack, tmp_path: Path, frames: list[list[Any]]) -> AsyncIterator[Asked]:
    """It has handled every frame."""
    await create_topics(parts.addresses.kafka_bootstrap)
    settings = Settings(kafka=KafkaSettings(bootstrap=parts.addresses.kafka_bootstrap), redis=RedisSettings(url=""))
    sender, worker = Sender(settings, "test"), Asked(parts, tmp_path)
    await sender.start()
    try:
        await worker.start()
        for partition, of_partition in enumerate(frames):
            for number, ticks in enumerate(of_partition):
                value = encode_frame(ticks, feed="test", ingest_ns=1_000 + number, session_ns=0)
                await sender.send(MD_TICKS, b"%d" % partition, value, partition=partition)
        yield worker
    finally:
        await sender.stop()
        await worker.stop(signal.SIGTERM)


async def handled(worker: Asked, symbol: str, frames: list[list[Any]]) -> dict[str, Any]:
    """All indicators of the symbol, once every frame of its partition is in them."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            answer = await worker.ask(f"{symbol}/indicators")
            told: dict[str, Any] = answer.json()
            if answer.status_code == 200 and told["as_of"]["next_offset"] == len(frames[told["as_of"]["partition"]]):
                return told
            await asyncio.sleep(0.2)


def levels(told: dict[str, Any]) -> Sides:
    bids, asks = ([(level["price_e4"], level["size"]) for level in told[side]] for side in ("bids", "asks"))
    return bids, asks


async def test_questions_when_asked_of_now_of_a_record_and_of_a_time_then_as_the_referee_has_them(
    worker: Asked, frames: list[list[Any]]
) -> None:
    listed = [tick for tick in frames[0][0] if tick["kind"] == TickKind.STOCK_DIRECTORY]
    instrument, symbol = int(listed[0]["instrument_id"]), ref_to_symbol(int(listed[0]["order_ref"]))
    own = frames[0]
    told = await handled(worker, symbol, frames)

    whole = Referee()
    whole.apply(np.concatenate(own))
    bids, asks = whole.depth(instrument)
    (bid, bid_size), (ask, ask_size) = bids[0], asks[0]
    assert (told["bid_e4"], told["bid_size"], told["ask_e4"], told["ask_size"]) == (bid, bid_size, ask, ask_size)
    assert told["spread_e4"] == ask - bid
    shares = [sum(size for _, size in side) for side in (bids, asks)]
    assert [told["bid_depth"], told["ask_depth"]] == shares
    assert told["imbalance_ppm"] == (shares[0] - shares[1]) * 1_000_000 // sum(shares)
    assert told["microprice_e4"] == bid + (ask - bid) * bid_size // (bid_size + ask_size)
    assert {window["window_ns"] for window in told["windows"]} <= {10**9, 60 * 10**9}

    for at_offset in (len(own) // 4, len(own) // 2, len(own) - 1):
        answer = await worker.ask(f"{symbol}/depth", at_offset=at_offset)
        assert answer.status_code == 200, answer.text + worker.log()
        assert answer.json()["as_of"]["next_offset"] == at_offset + 1
        then = Referee()
        then.apply(np.concatenate(own[: at_offset + 1]))
        assert levels(answer.json()) == then.depth(instrument)

    ticks = np.concatenate(own)
    at_ns = int(ticks["event_ns"][len(ticks) // 3])
    answer = await worker.ask(f"{symbol}/depth", at_ns=at_ns, levels=3)
    then = Referee()
    then.apply(ticks[np.maximum.accumulate(ticks["event_ns"]) <= at_ns])
    bids, asks = then.depth(instrument)
    assert levels(answer.json()) == (bids[:3], asks[:3])
    assert answer.json()["as_of"]["clock_ns"] <= at_ns

    for path, asked, status, problem in (
        ("NOBODY/depth", {}, 404, "symbol-unknown"),
        (f"{symbol}/depth", {"at_offset": len(own)}, 404, "moment-not-kept"),
        (f"{symbol}/depth", {"at_offset": 0, "at_ns": 0}, 400, "malformed-request"),
        (f"{symbol}/spread", {"levels": 11}, 400, "malformed-request"),
    ):
        answer = await worker.ask(path, **asked)
        assert (answer.status_code, answer.json()["type"]) == (status, problem_type(problem)), answer.text

    asked_by = ("query", "depth", symbol, "--json", "--api", worker.url, "--at-offset", str(len(own) - 1))
    command = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tidemark.main", *asked_by), stdout=asyncio.subprocess.PIPE
    )
    shown, _ = await command.communicate()
    assert command.returncode == 0
    assert levels(json.loads(shown)) == whole.depth(instrument)


async def test_venues_when_one_falls_silent_then_it_is_said_and_the_best_of_all_is_of_the_others(
    worker: Asked, parts: LocalStack
) -> None:
    now_ns = time.time_ns()
    quotes = [
        {
            "venue": "AAA",
            "event_ns": now_ns - 2 * SILENCE_NS,
            "bid_e4": 101,
            "bid_size": 1,
            "ask_e4": 110,
            "ask_size": 2,
        },
        {
            "venue": "BBB",
            "event_ns": now_ns - 2 * SILENCE_NS,
            "bid_e4": 100,
            "bid_size": 3,
            "ask_e4": 110,
            "ask_size": 4,
        },
    ]
    beat = MarketEvent(kind=MarketEventKind.HEARTBEAT, symbol="TWOFOLD", venue="BBB", event_ns=now_ns)
    sender = Sender(
        Settings(kafka=KafkaSettings(bootstrap=parts.addresses.kafka_bootstrap), redis=RedisSettings(url="")), "venues"
    )
    await sender.start()
    try:
        listed = Instrument(instrument_id=4_000, symbol="TWOFOLD")
        await sender.send(REF_INSTRUMENTS, b"TWOFOLD", REF_INSTRUMENTS.schema.encode(listed))
        named = row(TickKind.STOCK_DIRECTORY, instrument_id=listed.instrument_id, order_ref=symbol_to_ref("TWOFOLD"))
        frame = encode_frame(tick_array([named]), feed="test", ingest_ns=0, session_ns=0)
        await sender.send(MD_TICKS, b"0", frame, partition=market_partition(listed.instrument_id))
        for quote in quotes:
            told = MarketEvent(kind=MarketEventKind.BBO, symbol="TWOFOLD", **quote)
            await sender.send(MD_EVENTS, b"TWOFOLD", MD_EVENTS.schema.encode(told))
        both = await venues(worker, lambda told: len(told["venues"]) == 2)
        assert (both["bid_e4"], both["bid_size"], both["bid_venues"]) == (101, 1, ["AAA"])
        assert (both["ask_e4"], both["ask_size"], both["ask_venues"]) == (110, 6, ["AAA", "BBB"])
        await sender.send(MD_EVENTS, b"TWOFOLD", MD_EVENTS.schema.encode(beat))
        one = await venues(worker, lambda told: told["venues"][0]["left_out"])
    finally:
        await sender.stop()
    assert (one["bid_e4"], one["bid_size"], one["ask_size"]) == (100, 3, 4)
    assert [(each["venue"], each["bid_e4"], each["left_out"]) for each in one["venues"]] == [
        ("AAA", 101, True),
        ("BBB", 100, False),
    ]
    book = (await worker.ask("TWOFOLD/depth")).json()
    assert levels(book) == ([(100, 3)], [(110, 4)])


async def venues(worker: Asked, fits: Callable[[Any], bool]) -> Any:
    """The answer on them, as soon as it fits."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            answer = await worker.ask("TWOFOLD/venues")
            if answer.status_code == 200 and fits(answer.json()):
                return answer.json()
            await asyncio.sleep(0.2)
