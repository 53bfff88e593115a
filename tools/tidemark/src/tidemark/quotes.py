"""The market as a client sees it: quotes out of the views in Redis."""

import asyncio
import contextlib
from types import TracebackType
from typing import Final, Self

from common.contracts.topics import MARKET
from common.contracts.views import Envelope, QuoteData, view_channel
from redis.exceptions import RedisError
from streams.process.cancellation import end
from streams.views.redis_client import redis_client

from tidemark.load.plan import Quote

REFRESH_S: Final = 0.5
NO_MORE_SYMBOLS_S: Final = 10.0
"""A market that shows fewer symbols than wanted for so long has no more."""


def quote_channels() -> list[str]:
    """The hashes (and channels) that hold every symbol's quote."""
    return [view_channel("quote", str(partition)) for partition in range(MARKET.partitions)]


def _quote(value: bytes | str) -> QuoteData | None:
    data = Envelope.model_validate_json(value).data
    return QuoteData.model_validate(data) if data is not None else None


class QuoteBoard:
    """Keeps the quotes of a few symbols fresh; ``__call__`` gives the newest of one, None before there is any."""

    def __init__(self, redis_url: str) -> None:
        self._redis = redis_client(redis_url, socket_connect_timeout=2, socket_timeout=5)
        self._quotes: dict[str, Quote] = {}
        self._watched: list[str] = []
        self._refreshing: asyncio.Task[None] | None = None

    def __call__(self, symbol: str) -> Quote | None:
        return self._quotes.get(symbol)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._refreshing is not None:
            await end(self._refreshing)
        await self._redis.aclose()

    async def most_traded(self, count: int) -> list[str]:
        """Symbols with two-sided quotes, by volume so far; fewer where the market shows fewer."""
        rows: list[QuoteData] = []
        for channel in quote_channels():
            found: list[bytes | str] = await self._redis.hvals(channel)
            rows += [quote for value in found if (quote := _quote(value)) is not None]
        rows = [row for row in rows if row.bid_e4 and row.ask_e4 and row.trading_state in ("T", "")]
        rows.sort(key=lambda row: (-row.volume, row.symbol))
        return [row.symbol for row in rows[:count]]

    async def wait_for_market(self, count: int, timeout_s: float) -> list[str]:
        """Waits until so many symbols have two-sided quotes, or fewer for a while; returns the most traded.

        Raises TimeoutError where no symbol has any.
        """
        opened_s: float | None = None
        async with asyncio.timeout(timeout_s):
            while True:
                with contextlib.suppress(RedisError, OSError):
                    symbols = await self.most_traded(count)
                    now_s = asyncio.get_running_loop().time()
                    opened_s = now_s if symbols and opened_s is None else opened_s
                    if len(symbols) >= count or (opened_s is not None and now_s > opened_s + NO_MORE_SYMBOLS_S):
                        return symbols
                await asyncio.sleep(REFRESH_S)

    async def watch(self, symbols: list[str]) -> None:
        """Refreshes these symbols from now on; returns after the first refresh."""
        self._watched = symbols
        await self._refresh()
        self._refreshing = asyncio.create_task(self._keep_fresh(), name="quotes")

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            with contextlib.suppress(RedisError, OSError):
                await self._refresh()

    async def _refresh(self) -> None:
        # Which partition a symbol is on is ingest's business, so each hash is asked for all of them.
        pipe = self._redis.pipeline(transaction=False)
        for channel in quote_channels():
            pipe.hmget(channel, self._watched)
        for values in await pipe.execute():
            for value in values:
                quote = _quote(value) if value is not None else None
                if quote is not None:
                    self._quotes[quote.symbol] = Quote(quote.bid_e4, quote.ask_e4, quote.last_e4)
