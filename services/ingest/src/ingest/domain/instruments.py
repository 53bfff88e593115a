"""Instrument ids: given in order of first appearance of a symbol, and kept for ever."""

from collections.abc import Iterable

from common.contracts.reference import Instrument
from common.feeds import Listing

DEFAULT_ROUND_LOT = 100
PRICE_DECIMALS = 4
SYMBOL_CHARS_MAX = 8
"""Characters that a directory tick has room for."""


class InstrumentRegistry:
    """Symbol to instrument. Starts with what earlier sessions announced."""

    def __init__(self, known: Iterable[Instrument] = ()) -> None:
        self._by_symbol = {instrument.symbol: instrument for instrument in known}
        self._by_id = {instrument.instrument_id: instrument for instrument in self._by_symbol.values()}
        if len(self._by_id) != len(self._by_symbol):
            raise ValueError("two symbols share an instrument id")
        self._next_id = max(self._by_id, default=-1) + 1

    def __len__(self) -> int:
        return len(self._by_symbol)

    def register(self, symbol: str, round_lot_size: int) -> tuple[Instrument, bool]:
        """The instrument of ``symbol``, and whether it is new or changed and has to be announced.

        Raises ValueError (of pydantic) for what is no symbol.
        """
        known = self._by_symbol.get(symbol)
        round_lot_size = round_lot_size or DEFAULT_ROUND_LOT
        if known and known.round_lot_size == round_lot_size:
            return known, False
        if known:
            instrument = known.model_copy(update={"round_lot_size": round_lot_size})
        else:
            instrument = Instrument(instrument_id=self._next_id, symbol=symbol, round_lot_size=round_lot_size)
            self._next_id += 1
        self._by_symbol[symbol] = instrument
        self._by_id[instrument.instrument_id] = instrument
        return instrument, True

    def enlist(self, symbol: str, listing: Listing) -> tuple[Instrument, bool]:
        """As ``register``, for a source that says more of its instruments. Raises ValueError for what is no symbol."""
        if len(symbol) > SYMBOL_CHARS_MAX:
            raise ValueError(f"a symbol has at most {SYMBOL_CHARS_MAX} characters, not {symbol!r}")
        facts = {
            "lot_size": listing.lot,
            "round_lot_size": listing.round_lot,
            "tick_e4": listing.tick,
            "sub_unit_tick_e4": listing.tick,
            "currency": listing.currency,
            "venue": listing.venue,
            "price_decimals": None if listing.price_decimals == PRICE_DECIMALS else listing.price_decimals,
            "qty_decimals": listing.qty_decimals or None,
        }
        known = self._by_symbol.get(symbol)
        instrument_id = self._next_id if known is None else known.instrument_id
        instrument = Instrument.model_validate({"instrument_id": instrument_id, "symbol": symbol, **facts})
        if known == instrument:
            return known, False
        self._next_id = max(self._next_id, instrument_id + 1)
        self._by_symbol[symbol] = self._by_id[instrument_id] = instrument
        return instrument, True

    def by_id(self, instrument_id: int) -> Instrument:
        """Raises KeyError for an id that was never given."""
        return self._by_id[instrument_id]

    def instruments(self) -> list[Instrument]:
        """All, by id."""
        return [self._by_id[instrument_id] for instrument_id in sorted(self._by_id)]
