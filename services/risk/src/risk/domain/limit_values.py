"""Values that a limit of a symbol, an account or an order may have, and which of two is the tighter."""

from collections.abc import Mapping
from typing import Any, Final

from common.checks.case import LimitFields
from common.contracts.values import INT64_MAX, SELF_MATCH_DENIED, SELF_MATCH_MODES
from msgspec.structs import fields
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class SymbolLimits(BaseModel):
    """Limits of one symbol, account or order, in place of the service's; absent: the service's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    market_collar_bps: int | None = Field(default=None, ge=0, lt=10_000)
    limit_collar_bps: int | None = Field(default=None, ge=0, lt=10_000)
    order_qty_max: int | None = Field(default=None, ge=1, le=INT64_MAX)
    order_notional_max_e4: int | None = Field(default=None, ge=1, le=INT64_MAX)
    self_cross_denied: bool | None = None
    self_match_mode: int | None = Field(default=None, ge=SELF_MATCH_DENIED, le=max(SELF_MATCH_MODES))
    restricted: bool | None = None
    reduce_only: bool | None = None
    price_band_bps: int | None = Field(default=None, ge=0, lt=10_000)
    average_volume_qty: int | None = Field(default=None, ge=0, le=INT64_MAX)
    volume_share_bps: int | None = Field(default=None, ge=0, le=10_000)
    exposure_max_e4: int | None = Field(default=None, ge=0, le=INT64_MAX)
    position_qty_max: int | None = Field(default=None, ge=0, le=INT64_MAX)
    position_notional_max_e4: int | None = Field(default=None, ge=0, le=INT64_MAX)
    daily_loss_max_e4: int | None = Field(default=None, ge=0, le=INT64_MAX)
    drawdown_max_e4: int | None = Field(default=None, ge=0, le=INT64_MAX)
    open_orders_max: int | None = Field(default=None, ge=0, le=INT64_MAX)
    open_notional_max_e4: int | None = Field(default=None, ge=0, le=INT64_MAX)
    window_orders_max: int | None = Field(default=None, ge=0, le=INT64_MAX)
    window_qty_max: int | None = Field(default=None, ge=0, le=INT64_MAX)
    window_notional_max_e4: int | None = Field(default=None, ge=0, le=INT64_MAX)
    throttle_intents_max: int | None = Field(default=None, ge=0, le=INT64_MAX)
    halt_on_repeats: bool | None = None
    halt_at_limits: bool | None = None


_DEFAULTS: Final = {field.name: field.default for field in fields(LimitFields)}


def out_of_range(values: Mapping[str, int]) -> dict[str, int]:
    """The values that name no limit, or that the limit cannot have."""
    try:
        SymbolLimits(**values)
    except ValidationError as error:
        wrong = {str(each["loc"][0]) for each in error.errors(include_url=False)}
        return {name: value for name, value in values.items() if name in wrong}
    return {}


def as_fields(values: Mapping[str, int]) -> dict[str, Any]:
    """Values as ``LimitFields`` has them: a flag is one there."""
    return {name: bool(value) if isinstance(_DEFAULTS[name], bool) else value for name, value in values.items()}


def tighter(name: str, one: Any, other: Any) -> Any:
    """The one of two values that lets less pass; of limits that are off by default 0 lets everything pass."""
    if isinstance(_DEFAULTS[name], bool):
        return one or other
    if _DEFAULTS[name] == 0 and not (one and other):
        return one or other
    return min(one, other)
