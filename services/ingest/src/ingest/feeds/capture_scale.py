"""Scales of a venue that sends decimal texts: what the first messages need, or what a reference file says."""

from collections.abc import Iterable
from typing import Final

from common.feeds import FeedContext, Listed, Listing, decimals_of

E4_DECIMALS: Final = 4
DECIMALS_MAX: Final = 12


def enlisted(
    context: FeedContext,
    symbol: str,
    venue: str,
    currency: str,
    seen: Iterable[tuple[str, str]],
    *,
    offset: int,
    sequence: int,
) -> Listed | None:
    """Lists an instrument whose first (price, quantity) texts are ``seen``.

    Prices are on a grid, which the first hundreds show; quantities have the decimals that they are written with, since
    sums of a level may be finer than any order of it that was seen. A reference file says the real tick and lot.
    """
    price_decimals, qty_decimals = E4_DECIMALS, 0
    for price, qty in seen:
        price_decimals = max(price_decimals, decimals_of(price))
        qty_decimals = max(qty_decimals, len(qty.partition(".")[2]))
    listing = Listing(
        price_decimals=min(price_decimals, DECIMALS_MAX),
        qty_decimals=min(qty_decimals, DECIMALS_MAX),
        currency=currency,
        venue=venue,
    )
    return context.enlist(symbol, listing, offset=offset, sequence=sequence)
