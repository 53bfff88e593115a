"""Instrument ids: given in order of first appearance of a symbol, and kept for ever."""

from collections.abc import Iterable

from common.contracts.reference import Instrument

DEFAULT_ROUND_LOT = 100


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

    def by_id(self, instrument_id: int) -> Instrument:
        """Raises KeyError for an id that was never given."""
        return self._by_id[instrument_id]

    def instruments(self) -> list[Instrument]:
        """All, by id."""
        return [self._by_id[instrument_id] for instrument_id in sorted(self._by_id)]
