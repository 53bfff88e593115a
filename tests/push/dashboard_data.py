"""A lively market in Redis, for looking at the dashboard without a fleet. Every view is written as the services do.

python tests/push/dashboard_data.py --redis redis://127.0.0.1:6379/0 --seconds 60
"""

import argparse
import asyncio
import math
import random
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from common.contracts.events import (
    ExecType,
    ExecutionReport,
    OrderEvent,
    OrderState,
    ReasonCode,
)
from common.contracts.market import vwap_e4
from common.contracts.values import E4, OrderType, Side, TimeInForce
from common.contracts.views import (
    AccountData,
    BarData,
    BookData,
    HealthData,
    PositionData,
    QuoteData,
    Stamps,
    ViewModel,
)
from common.testing.views import ViewWriter
from redis.asyncio import Redis

PRICES = {
    "AAPL": 271.4, "MSFT": 478.2, "NVDA": 186.6, "AMZN": 220.7, "GOOGL": 299.7, "META": 594.3, "TSLA": 395.2,
    "AVGO": 341.1, "COST": 892.6, "NFLX": 105.7, "AMD": 206.0, "PEP": 146.1, "CSCO": 76.4, "ADBE": 320.4,
    "QCOM": 163.3, "TXN": 156.9, "INTC": 34.5, "AMGN": 337.2, "HON": 192.0, "SBUX": 83.9, "GILD": 125.8,
    "BKNG": 4_592.0, "MU": 207.4, "LRCX": 142.9, "ADP": 252.5, "MDLZ": 56.7, "REGN": 704.4, "PANW": 185.9,
    "MELI": 1_951.3, "ASML": 966.6, "SIRI": 20.1, "SNDL": 1.82,
}  # fmt: skip
PARTITIONS = 4
ACCOUNTS = [f"ACC{number:04d}" for number in range(1, 13)]
HEARTBEAT_S = 0.1
NS = 1_000_000_000


@dataclass
class Instrument:
    """One symbol's market: a price that wanders, a book around it, and its bars."""

    symbol: str
    partition: int
    chance: random.Random
    mid: float
    open_e4: int = 0
    last_e4: int = 0
    volume: int = 0
    state: str = "T"
    bars: dict[int, BarData] = field(default_factory=dict)

    @property
    def pace(self) -> float:
        """Share of heartbeats at which it trades."""
        return max(0.06, 0.9 - 0.027 * list(PRICES).index(self.symbol))

    @property
    def tick_e4(self) -> int:
        return 100 if self.mid >= 1 else 1

    def move(self, scale: float = 1.0) -> None:
        self.mid *= math.exp(self.chance.gauss(0, 0.00016) * scale)

    def near(self) -> tuple[int, int]:
        """Best bid and ask."""
        tick = self.tick_e4
        spread = max(1, round(self.mid * E4 * 0.00005) // tick) * tick
        bid = round(self.mid * E4 - spread / 2) // tick * tick
        return bid, bid + spread

    def trade(self, at_ns: int) -> list[tuple[str, BarData]]:
        """A print; returns the open bars of both windows."""
        price_e4 = self.chance.choice(self.near())
        qty = self.chance.choice([1, 10, 25, 50, 100, 100, 100, 200, 300, 500])
        self.last_e4, self.volume = price_e4, self.volume + qty
        self.open_e4 = self.open_e4 or price_e4
        return [(f"{self.symbol}:{window}", self._bar(window, at_ns, price_e4, qty)) for window in (NS, 60 * NS)]

    def _bar(self, window: int, at_ns: int, price_e4: int, qty: int) -> BarData:
        start, old = at_ns // window * window, self.bars.get(window)
        if old is None or old.window_start_ns != start:
            old = None
        notional = (old.notional_e4 if old else 0) + price_e4 * qty
        volume = (old.volume if old else 0) + qty
        self.bars[window] = BarData(
            symbol=self.symbol,
            window_start_ns=start,
            window_ns=window,
            open_e4=old.open_e4 if old else price_e4,
            high_e4=max(old.high_e4, price_e4) if old else price_e4,
            low_e4=min(old.low_e4, price_e4) if old else price_e4,
            close_e4=price_e4,
            volume=volume,
            trades=(old.trades if old else 0) + 1,
            notional_e4=notional,
            vwap_e4=vwap_e4(notional, volume),
            revision=0,
            closed=False,
        )
        return self.bars[window]

    def quote(self, at_ns: int) -> QuoteData:
        bid, ask = self.near()
        return QuoteData(
            symbol=self.symbol,
            bid_e4=bid,
            bid_size=100 * self.chance.randint(1, 12),
            ask_e4=ask,
            ask_size=100 * self.chance.randint(1, 12),
            last_e4=self.last_e4,
            open_e4=self.open_e4,
            volume=self.volume,
            trading_state=self.state,
            event_ns=at_ns,
        )

    def book(self, at_ns: int) -> BookData:
        bid, ask = self.near()

        def side(best: int, step: int) -> tuple[tuple[int, int], ...]:
            sizes = (round(100 * (1 + level) * self.chance.lognormvariate(0.3, 0.6)) for level in range(10))
            return tuple((best + step * level, size) for level, size in enumerate(sizes))

        return BookData(symbol=self.symbol, bids=side(bid, -self.tick_e4), asks=side(ask, self.tick_e4), event_ns=at_ns)


class Account:
    """One account that sends orders, some of which fill, some rest, some are denied."""

    def __init__(self, account_id: str, chance: random.Random) -> None:
        self.id = account_id
        self._chance = chance
        self._number = 0
        self.cash_e4 = 12_500_000 * E4
        self.positions = {symbol: 100 * chance.randint(2, 30) for symbol in list(PRICES)[:12]}
        self.open: deque[OrderEvent] = deque()
        self.seq = 0

    def data(self) -> AccountData:
        self.seq += 1
        reserved = sum(o.leaves_qty * (o.limit_price_e4 or 0) for o in self.open if o.side is Side.BUY)
        held = {o.symbol: o.leaves_qty for o in self.open if o.side is Side.SELL}
        positions = [
            PositionData(symbol=s, qty=q, reserved_qty=min(q, held.get(s, 0))) for s, q in self.positions.items()
        ]
        return AccountData(
            account_id=self.id,
            status="ACTIVE",
            cash_e4=self.cash_e4,
            reserved_cash_e4=reserved,
            positions=tuple(positions),
            seq=self.seq,
        )

    def enter(self, instrument: Instrument, now_ns: int) -> list[OrderEvent]:
        """A new order's first transitions."""
        self._number += 1
        rich = self.cash_e4 > 8_000_000 * E4
        side = self._chance.choice([Side.BUY, Side.BUY, Side.SELL] if rich else [Side.SELL])
        bid, ask = instrument.near()
        away = self._chance.choice([0, 0, 0, 1, 2, 4]) * instrument.tick_e4
        limit = (bid - away if away else ask) if side is Side.BUY else (ask + away if away else bid)
        denied = self._chance.random() < 0.12 or (side is Side.SELL and not self.positions.get(instrument.symbol))
        order = OrderEvent(
            order_id=f"{self.id}.c{self._number:06d}",
            account_id=self.id,
            client_order_id=f"c{self._number:06d}",
            symbol=instrument.symbol,
            instrument_id=0,
            side=side,
            order_type=OrderType.LIMIT,
            time_in_force=self._chance.choice([TimeInForce.DAY, TimeInForce.DAY, TimeInForce.IOC]),
            qty=100 * self._chance.randint(1, 9),
            limit_price_e4=limit,
            state=OrderState.DENIED if denied else OrderState.ACCEPTED,
            reason=self._chance.choice([ReasonCode.POSITION_INSUFFICIENT, ReasonCode.CASH_INSUFFICIENT])
            if denied
            else None,
            revision=1,
            sent_ns=now_ns - 9_000_000,
            updated_ns=now_ns,
            decided_ns=now_ns - 4_000_000,
        )
        if denied:
            return [order]
        working = changed(order, OrderState.WORKING, now_ns, leaves_qty=order.qty)
        self.open.append(working)
        return [order, working]

    def fill(self, now_ns: int) -> tuple[list[OrderEvent], list[ExecutionReport]]:
        """The oldest open order fills in part or whole, or is canceled."""
        if not self.open:
            return [], []
        order = self.open.popleft()
        if self._chance.random() < 0.15:
            return [changed(order, OrderState.CANCELED, now_ns, leaves_qty=0)], []
        price_e4 = order.limit_price_e4 or 0
        qty = (
            order.leaves_qty if self._chance.random() < 0.6 or order.leaves_qty < 200 else order.leaves_qty // 200 * 100
        )
        leaves = order.leaves_qty - qty
        state = OrderState.PARTIALLY_FILLED if leaves else OrderState.FILLED
        notional = order.notional_e4 + qty * price_e4
        filled = changed(order, state, now_ns, cum_qty=order.cum_qty + qty, leaves_qty=leaves, notional_e4=notional)
        if leaves:
            self.open.append(filled)
        sign = 1 if order.side is Side.BUY else -1
        self.cash_e4 -= sign * qty * price_e4
        self.positions[order.symbol] = max(0, self.positions.get(order.symbol, 0) + sign * qty)
        report = ExecutionReport(
            execution_id=f"{order.order_id}-{filled.revision}",
            exec_type=ExecType.TRADE,
            order_id=order.order_id,
            account_id=self.id,
            symbol=order.symbol,
            side=order.side,
            last_qty=qty,
            last_price_e4=price_e4,
            cum_qty=filled.cum_qty,
            leaves_qty=leaves,
            venue_ns=now_ns,
        )
        return [filled], [report]


def changed(order: OrderEvent, state: OrderState, now_ns: int, **fields: int) -> OrderEvent:
    """The order after one more transition."""
    update = {"state": state, "updated_ns": now_ns, "revision": order.revision + 1, **fields}
    return order.model_copy(update=update)


class Market:
    """Writes everything, heartbeat by heartbeat."""

    def __init__(self, redis: Redis, seed: int) -> None:
        self._chance = random.Random(seed)
        self._writer = ViewWriter(redis)
        self._ticks = 0
        self.instruments = [
            Instrument(symbol, number % PARTITIONS, random.Random(seed + number), price)
            for number, (symbol, price) in enumerate(PRICES.items())
        ]
        self.accounts = [Account(account_id, random.Random(seed + 100 + n)) for n, account_id in enumerate(ACCOUNTS)]

    def _stamps(self, slowest_ms: float) -> Stamps:
        now_ns = time.time_ns()
        took = [self._chance.uniform(0.2, 1) * slowest_ms for _ in range(3)]
        return Stamps(
            origin_ns=now_ns - int(sum(took) * 1e6),
            processed_ns=now_ns - int(sum(took[1:]) * 1e6),
            committed_ns=now_ns - int(took[2] * 1e6),
        )

    async def history(self, bars: int = 240) -> None:
        """Past bars, the first quotes and books, and an account's day so far."""
        now_ns = time.time_ns()
        for number, instrument in enumerate(self.instruments):
            rows: dict[str, dict[str, ViewModel]] = {}
            for at_s in range(-bars if number < 6 else -40, 0):
                for _ in range(self._chance.randint(1, 6) if self._chance.random() < instrument.pace else 0):
                    instrument.move()
                    for scope, bar in instrument.trade(now_ns + at_s * NS):
                        rows.setdefault(scope, {})[str(bar.window_start_ns)] = bar
            instrument.volume += int(self._chance.lognormvariate(12, 1.2))
            for minute in range(-120 if number < 6 else -20, -bars // 60):
                bar = self._past_minute(instrument, now_ns, minute)
                rows.setdefault(f"{instrument.symbol}:{60 * NS}", {})[str(bar.window_start_ns)] = bar
            for scope, ready in rows.items():
                await self._writer.write("bar", scope, ready)
        self.instruments[20].state = "H"
        await self.quotes(everything=True)
        for _ in range(26):
            await self.orders(self.accounts[0])
        for account in self.accounts:
            await self._writer.write("account", account.id, {"account": account.data()})

    def _past_minute(self, instrument: Instrument, now_ns: int, minute: int) -> BarData:
        start = (now_ns // (60 * NS) + minute) * 60 * NS
        base = instrument.mid * math.exp(0.004 * math.sin(minute / 17) + 0.0004 * minute * (1 if minute % 2 else 0.9))
        prices = [round(base * (1 + self._chance.gauss(0, 0.0005)) * 100) * 100 for _ in range(4)]
        volume = self._chance.randint(2_000, 30_000)
        return BarData(
            symbol=instrument.symbol,
            window_start_ns=start,
            window_ns=60 * NS,
            open_e4=prices[0],
            high_e4=max(prices),
            low_e4=min(prices),
            close_e4=prices[1],
            volume=volume,
            trades=volume // 90,
            notional_e4=volume * sum(prices) // 4,
            vwap_e4=sum(prices) // 4,
            revision=0,
            closed=True,
        )

    async def quotes(self, everything: bool = False) -> None:
        """One heartbeat of the market."""
        at_ns, stamps = time.time_ns(), self._stamps(2.5)
        quotes: dict[int, dict[str, ViewModel]] = {}
        for instrument in self.instruments:
            if instrument.state != "T" and not everything:
                continue
            if not everything and self._chance.random() > instrument.pace:
                continue
            instrument.move()
            self._ticks += self._chance.randint(200, 900)
            if everything or self._chance.random() < 0.7:
                for scope, bar in instrument.trade(at_ns):
                    await self._writer.write("bar", scope, {str(bar.window_start_ns): bar}, stamps=stamps)
            quotes.setdefault(instrument.partition, {})[instrument.symbol] = instrument.quote(at_ns)
            await self._writer.write("book", instrument.symbol, {"depth": instrument.book(at_ns)}, stamps=stamps)
        for partition, rows in quotes.items():
            await self._writer.write("quote", str(partition), rows, stamps=stamps)

    async def orders(self, account: Account) -> None:
        """One account does something."""
        now_ns, stamps = time.time_ns(), self._stamps(5)
        events = account.enter(self._chance.choice(self.instruments[:14]), now_ns)
        fills: list[ExecutionReport] = []
        for _ in range(2 if len(account.open) > 6 else len(account.open) > 3):
            filled, reports = account.fill(now_ns)
            events += filled
            fills += reports
        for event in events:
            row = {event.order_id: event.model_dump(mode="json")}
            await self._writer.write("order", account.id, row, stamps=stamps)
        for fill in fills:
            row = {fill.execution_id: fill.model_dump(mode="json")}
            await self._writer.write("fill", account.id, row, stamps=stamps)
        await self._writer.write("account", account.id, {"account": account.data()}, stamps=stamps)

    async def health(self) -> None:
        """Writes the health of the other services, as they would."""
        for service in ("ingest", "signals", "risk", "orders"):
            detail = {"kafka": True} | ({"feed session.next_message": self._ticks} if service == "ingest" else {})
            await self._say(service, detail)
        await self._say("auditor", {"audit.divergent": 0, "audit.looked_ns": time.time_ns()})

    async def beat(self) -> None:
        """Says of all views, as their writers do, that they are current."""
        await self._writer.beat_all()

    async def _say(self, service: str, detail: dict[str, Any]) -> None:
        data = HealthData(service=service, worker=f"{service}-1", ready=True, detail=detail, at_ns=time.time_ns())
        await self._writer.write("health", service, {f"{service}-1": data})

    async def run(self, seconds: float) -> None:
        """Heartbeats until the time is over."""
        begun_s = time.monotonic()
        beats = 0
        while time.monotonic() - begun_s < seconds:
            await self.quotes()
            if beats % 8 == 0:
                await self.orders(self.accounts[0])
                await self.orders(self._chance.choice(self.accounts[1:]))
            if beats % 10 == 0:
                await self.health()
                await self.beat()
            beats += 1
            await asyncio.sleep(max(0.0, begun_s + beats * HEARTBEAT_S - time.monotonic()))


async def main() -> None:
    """Parses the arguments and runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis", required=True, help="URL")
    parser.add_argument("--seconds", type=float, default=3_600)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    async with Redis.from_url(arguments.redis) as redis:
        market = Market(redis, arguments.seed)
        await market.history()
        await market.beat()
        print("ready", flush=True)
        await market.run(arguments.seconds)


if __name__ == "__main__":
    asyncio.run(main())
