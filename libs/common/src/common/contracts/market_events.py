"""Market data for strangers: one record an event on ``md.events``, each readable by itself.

Frames of ``md.ticks`` say what a feed says, in its own terms: an execution names an order, and only who keeps the book
knows its price. An event says what became of that: a trade with its price, a best bid and offer, with symbol and venue.
Ingest writes them where it is asked to, and anybody else may write them: what does not come from ``md.ticks`` is put
there by signals, so that books, bars and marks have it, too.
"""

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from common.contracts.values import INT64_MAX, PriceE4, Side, Symbol, TimestampNs

Venue = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{1,16}$")]
"""A market identifier code (ISO 10383), or another name in its letters."""
Size = Annotated[int, Field(strict=True, ge=0, le=INT64_MAX)]


class MarketEventKind(StrEnum):
    """Kinds of events, by the terms of FIX MDEntryType (tag 269) where it has one."""

    TRADE = "TRADE"
    TRADE_BREAK = "TRADE_BREAK"
    """The venue takes a trade back."""
    QUOTE = "QUOTE"
    """The venue's level at one price of one side."""
    BBO = "BBO"
    """The venue's best bid and offer."""
    HEARTBEAT = "HEARTBEAT"
    """Time has passed, nothing earlier is still to come, and the venue is there; the symbol is of no account."""


NEEDED: Final = {
    MarketEventKind.TRADE: ("price_e4", "qty"),
    MarketEventKind.TRADE_BREAK: ("trade_id",),
    MarketEventKind.QUOTE: ("side", "price_e4", "qty"),
    MarketEventKind.BBO: ("bid_e4", "bid_size", "ask_e4", "ask_size"),
    MarketEventKind.HEARTBEAT: (),
}
"""Kind → what an event of it has to say beside symbol, venue and time."""


class MarketEvent(BaseModel):
    """One event of a market. Key: symbol. Prices and sizes are on the instrument's scale, like all of its ticks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: MarketEventKind
    symbol: Symbol
    venue: Venue = Field(description="where it happened")
    event_ns: TimestampNs = Field(description="when it happened, by the venue's clock")
    price_e4: PriceE4 | None = Field(default=None, description="TRADE, QUOTE")
    qty: Size | None = Field(default=None, description="TRADE; QUOTE: all that is shown at the price, 0: nothing")
    side: Side | None = Field(default=None, description="QUOTE: of the level; TRADE: of the resting order, if known")
    trade_id: Size | None = Field(default=None, description="TRADE, TRADE_BREAK: the venue's number of the trade")
    bid_e4: PriceE4 | None = Field(default=None, description="BBO; 0 where nobody bids")
    bid_size: Size | None = None
    ask_e4: PriceE4 | None = Field(default=None, description="BBO; 0 where nobody offers")
    ask_size: Size | None = None
    sequence: Size | None = Field(default=None, description="number of the message in the venue's feed")
    from_ticks: bool = Field(default=False, description="made of md.ticks, where it is already; others say nothing")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [name for name in NEEDED[self.kind] if getattr(self, name) is None]
        if missing:
            raise ValueError(f"{self.kind.value} without {', '.join(missing)}")
        if self.kind is MarketEventKind.TRADE and not self.qty:
            raise ValueError("a TRADE of nothing")
        return self
