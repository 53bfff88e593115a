"""Settings of the risk service, read from ``TIDEMARK_*`` environment variables."""

from typing import Annotated

from common.contracts.values import INT64_MAX, SELF_MATCH_DENIED, SELF_MATCH_MODES, Symbol
from msgspec.structs import replace
from pydantic import Field
from streams.process.settings import BatchSettings, InboxSettings, Settings
from streams.process.settings_tree import NAMELESS, SettingsGroup

from risk.domain.gate import Limits
from risk.domain.limit_values import SymbolLimits
from risk.tables import DAY_NS

NS_PER_MS = 1_000_000
DAY_MS = DAY_NS // NS_PER_MS


class GateBatchSettings(BatchSettings):
    """Input that a partition of the gate takes on in one transaction."""

    messages_max: int = Field(
        default=30_000, ge=1, description="input records per transaction at most; what many do to an account is a row"
    )
    handling_ms: int = Field(
        default=100, ge=1, description="a batch is made smaller where it takes longer; no client waits for this loop"
    )


class GateInboxSettings(InboxSettings):
    """Input that may wait for the gate."""

    messages_max: int = Field(default=40_000, ge=1, description="records waiting per input partition at most")


class LimitSettings(SettingsGroup):
    """Limits of the gate. They have the names by which people set them for a symbol, an account or an order, too."""

    market_collar_bps: int = Field(
        default=500, ge=0, lt=10_000, description="how far beyond the quote a MARKET order may trade, in 1/10,000"
    )
    mark_max_age_ms: int = Field(
        default=5_000, ge=1, le=INT64_MAX // NS_PER_MS, description="a mark is stale when its clock is older than this"
    )
    reference_max_age_ms: int = Field(
        default=0,
        ge=0,
        le=INT64_MAX // NS_PER_MS,
        description="exchange time that a symbol may be without a change of its prices; 0: any",
    )
    order_notional_max_e4: int = Field(
        default=500_000_000_000, ge=1, le=INT64_MAX, description="price times quantity of one order at most"
    )
    order_qty_max: int = Field(default=1_000_000, ge=1, le=INT64_MAX, description="quantity of one order at most")
    limit_collar_bps: int = Field(
        default=1_000, ge=0, lt=10_000, description="how far beyond the quote a LIMIT price may be, in 1/10,000"
    )
    self_cross_denied: bool = Field(
        default=True, description="keep an order from trading with an open one of the same account"
    )
    self_match_mode: int = Field(
        default=SELF_MATCH_DENIED,
        ge=SELF_MATCH_DENIED,
        le=max(SELF_MATCH_MODES),
        description="how: 1 deny it, 2 have the venue cancel the newest of the two, 3 the oldest",
    )
    reduce_only: bool = Field(default=False, description="deny every BUY: orders may only make positions smaller")
    price_band_bps: int = Field(
        default=0, ge=0, lt=10_000, description="how far from the last sale an order may trade, in 1/10,000; 0: off"
    )
    volume_share_bps: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description="share of the symbol's `average_volume_qty` that one order may have, in 1/10,000; 0: off",
    )
    exposure_max_e4: int = Field(
        default=0, ge=0, le=INT64_MAX, description="shares held and ordered, and all that is reserved, at most; 0: off"
    )
    position_qty_max: int = Field(
        default=0, ge=0, le=INT64_MAX, description="shares of a symbol held and open for a BUY at most; 0: off"
    )
    position_notional_max_e4: int = Field(
        default=0, ge=0, le=INT64_MAX, description="the same in money, at the order's worst price; 0: off"
    )
    daily_loss_max_e4: int = Field(
        default=0, ge=0, le=INT64_MAX, description="what an account may lose in a day before it may only sell; 0: off"
    )
    drawdown_max_e4: int = Field(
        default=0, ge=0, le=INT64_MAX, description="the same from the highest that it was worth; 0: off"
    )
    open_orders_max: int = Field(
        default=0, ge=0, le=INT64_MAX, description="open orders of an account in a symbol at most; 0: off"
    )
    open_notional_max_e4: int = Field(
        default=0, ge=0, le=INT64_MAX, description="notional of all open orders of an account at most; 0: off"
    )
    window_ms: int = Field(default=1_000, ge=1, le=DAY_MS, description="the period of the three that follow")
    window_orders_max: int = Field(
        default=0, ge=0, le=INT64_MAX, description="accepted orders of an account in the period at most; 0: off"
    )
    window_qty_max: int = Field(default=0, ge=0, le=INT64_MAX, description="their quantity at most; 0: off")
    window_notional_max_e4: int = Field(default=0, ge=0, le=INT64_MAX, description="their notional at most; 0: off")
    throttle_ms: int = Field(default=1_000, ge=1, le=DAY_MS, description="the period of the one that follows")
    throttle_intents_max: int = Field(
        default=0, ge=0, le=INT64_MAX, description="intents of an account in a symbol in the period at most; 0: off"
    )
    duplicate_ms: int = Field(
        default=0, ge=0, le=DAY_MS, description="deny a body that was accepted so soon before under another id; 0: off"
    )
    duplicates_max: int = Field(default=1, ge=1, le=64, description="orders of one body within `duplicate_ms` at most")
    halt_on_repeats: bool = Field(
        default=False, description="halt an account that sends one body more often, until a person resumes it"
    )
    halt_at_limits: bool = Field(
        default=False, description="halt an account that comes to all of a limit, and cancel what it has open"
    )
    symbol_limits: dict[Symbol, SymbolLimits] = Field(
        default={},
        description="JSON: symbol to the limits that are other for it, and its `restricted` and `average_volume_qty`",
    )
    unsaid_state_trades: bool = Field(
        default=False, description="trade instruments of which the feed never said a trading state"
    )

    def as_limits(self) -> Limits:
        """In the units of the gate."""
        same = {name: getattr(self, name) for name in SymbolLimits.model_fields if name in type(self).model_fields}
        limits = Limits(
            mark_age_max_ns=self.mark_max_age_ms * NS_PER_MS,
            unsaid_state_trades=self.unsaid_state_trades,
            reference_age_max_ns=self.reference_max_age_ms * NS_PER_MS,
            window_ns=self.window_ms * NS_PER_MS,
            throttle_ns=self.throttle_ms * NS_PER_MS,
            duplicate_ns=self.duplicate_ms * NS_PER_MS,
            duplicates_max=self.duplicates_max,
            **same,
        )
        own = {
            symbol: replace(limits, **others.model_dump(exclude_none=True))
            for symbol, others in self.symbol_limits.items()
        }
        return replace(limits, by_symbol=own)


class HaltSettings(SettingsGroup):
    """Halts that market alerts request."""

    on_alerts: bool = Field(
        default=False, description="a CRITICAL market alert requests the halt of its symbol, until a person resumes it"
    )
    alert_age_max_s: float = Field(
        default=60.0, gt=0, description="a market alert that was written longer ago requests nothing"
    )


class RiskSettings(Settings):
    """Settings of the gate."""

    batch: GateBatchSettings = GateBatchSettings()
    inbox: GateInboxSettings = GateInboxSettings()
    limits: Annotated[LimitSettings, NAMELESS] = LimitSettings()
    halt: HaltSettings = HaltSettings()
    id_retention_days: int = Field(
        default=7, ge=1, description="client order, command and execution ids are remembered this long, at least"
    )
    checks: list[str] = Field(
        default=[], description="JSON: names of installed checks that stand behind the gate's own, in their order"
    )

    def id_retention_ns(self) -> int:
        return self.id_retention_days * DAY_NS
