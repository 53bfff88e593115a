"""Answers on the venues of a symbol that write its events to ``md.events``: what each shows, and who is left out."""

from collections.abc import Iterable
from typing import Final

from pydantic import BaseModel, Field
from streams.model.tables import Tables

from signals.domain.event_ticks import VenueBook
from signals.domain.venue_silence import Speakers
from signals.event_tables import SPEAKERS, shown_of

_SIDES: Final = (("bid", "bids", max), ("ask", "asks", min))


class VenueQuote(BaseModel):
    """The best that a venue shows. A side that is empty has the price and the size 0."""

    venue: str
    bid_e4: int
    bid_size: int
    ask_e4: int
    ask_size: int
    heard_ns: int = Field(description="time of its newest event, of whatever symbol, on the symbol's partition")
    left_out: bool = Field(description="it has been silent for too long: the books do without it until it speaks")


class VenuesAnswer(BaseModel):
    """The best of all venues that are not left out: price, shares of all who show it, and who they are.

    The venues of a symbol may lock or cross each other; that is said as it is.
    """

    symbol: str
    bid_e4: int
    bid_size: int
    bid_venues: list[str]
    ask_e4: int
    ask_size: int
    ask_venues: list[str]
    venues: list[VenueQuote]


def venues_of(symbol: str, partitions: Iterable[Tables]) -> VenuesAnswer | None:
    """``partitions``: tables of the stage ``events``. None where nobody has shown anything of the symbol."""
    quotes = [quote for tables in partitions for quote in _quotes(symbol.encode(), tables)]
    if not quotes:
        return None
    fields: dict[str, object] = {"symbol": symbol, "venues": sorted(quotes, key=lambda quote: quote.venue)}
    for side, _, best in _SIDES:
        priced = [
            (getattr(quote, f"{side}_e4"), getattr(quote, f"{side}_size"), quote.venue)
            for quote in quotes
            if not quote.left_out and getattr(quote, f"{side}_size")
        ]
        price_e4 = best((price_e4 for price_e4, _, _ in priced), default=0)
        at_best = [(size, venue) for price, size, venue in priced if price == price_e4]
        fields |= {f"{side}_e4": price_e4, f"{side}_size": sum(size for size, _ in at_best)}
        fields[f"{side}_venues"] = sorted(venue for _, venue in at_best)
    return VenuesAnswer.model_validate(fields)


def _quotes(symbol: bytes, tables: Tables) -> list[VenueQuote]:
    row = tables.globals("instruments").get(symbol)
    if row is None:
        return []
    speakers: Speakers = tables.changelogged("speakers").get(SPEAKERS) or Speakers()
    shown = shown_of(tables.changelogged("shown"), row.value.instrument_id)
    return [_quote(venue, book, speakers) for venue, book in shown]


def _quote(venue: str, book: VenueBook, speakers: Speakers) -> VenueQuote:
    fields: dict[str, int] = {}
    for side, levels, best in _SIDES:
        there: dict[int, int] = getattr(book, levels)
        price_e4 = best(there, default=0)
        fields |= {f"{side}_e4": price_e4, f"{side}_size": there.get(price_e4, 0)}
    heard = speakers.venues.get(venue)
    return VenueQuote(
        venue=venue,
        heard_ns=heard.last_ns if heard else 0,
        left_out=speakers.is_out(venue),
        **fields,
    )
