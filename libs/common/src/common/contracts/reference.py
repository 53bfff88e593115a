"""Reference data: what an instrument is. One JSON record per symbol on ``ref.instruments``."""

from pydantic import BaseModel, ConfigDict, Field

from common.contracts.values import InstrumentId, Symbol


class Instrument(BaseModel):
    """A tradable instrument. Ids are given by ingest in order of first appearance and never change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instrument_id: InstrumentId
    symbol: Symbol
    lot_size: int = Field(default=1, ge=1, description="order quantities are multiples of this")
    round_lot_size: int = Field(default=100, ge=1)
    tick_e4: int = Field(default=100, ge=1, description="price increment at or above one currency unit")
    sub_unit_tick_e4: int = Field(default=1, ge=1, description="price increment below one currency unit (Reg NMS 612)")
    currency: str = "USD"
    venue: str = "XNAS"
    price_decimals: int | None = Field(
        default=None, ge=4, le=12, description="a price of 1.0 is 10 ** this many units; absent: 4, as the names say"
    )
    qty_decimals: int | None = Field(
        default=None, ge=1, le=12, description="1.0 of quantity is 10 ** this many units; absent: 0, whole units"
    )
