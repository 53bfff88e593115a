"""Limits in force for one order: what the deployment says, the firm, the symbol, the account, and the order itself.

The most special word counts: of the account in the symbol before that of the account, that of the symbol before that of
the firm. Where a symbol and an account both say one, neither is the more special, and the tighter counts. Of trading
states the most severe counts, whoever has set it; no limit and no override takes one back.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from common.contracts.controls import Controls, TradingState
from common.contracts.values import INT64_MAX
from msgspec.structs import replace

from risk.domain.activity import COUNTED, OF_EQUITY
from risk.domain.controls import SEVERITY
from risk.domain.gate import Limits
from risk.domain.limit_values import as_fields, tighter

Said = Mapping[str, Any]
"""Fields of limits by name."""
_NOTHING: Final[Said] = {}


class InForce(NamedTuple):
    """All that is in force of an account, or of the firm, from one instant until another."""

    version: int
    general: Said
    by_symbol: Mapping[str, Said]
    by_order: Mapping[str, Said]
    """By client order id."""
    states: Mapping[str | None, TradingState]
    """By symbol; None: of all."""
    is_counted: bool
    """Whether a limit asks what an account did lately."""
    is_measured: bool
    """Whether one asks what it has lost."""
    from_ns: int
    until_ns: int
    seq: int = 0
    """Number of the ``Controls``; 0: nothing was ever said."""

    def state(self, symbol: str) -> TradingState:
        """The more severe of what is said of all and of the symbol."""
        both = self.states.get(None, TradingState.ACTIVE), self.states.get(symbol, TradingState.ACTIVE)
        return max(both, key=SEVERITY.__getitem__)


NOTHING_SAID: Final = InForce(0, _NOTHING, {}, {}, {}, False, False, 0, INT64_MAX)


def in_force(controls: Controls | None, now_ns: int) -> InForce:
    """Controls in force at an instant."""
    if controls is None:
        return NOTHING_SAID
    newest: dict[str | None, tuple[int, int, Said]] = {}
    for each in controls.limits:
        if each.effective_ns <= now_ns:
            candidate = each.effective_ns, each.version, as_fields(each.values)
            newest[each.symbol] = max(candidate, newest.get(each.symbol, candidate), key=lambda one: one[:2])
    by_order = {each.client_order_id: as_fields(each.values) for each in controls.overrides if now_ns < each.expires_ns}
    said = {symbol: values for symbol, (_, _, values) in newest.items()}
    whole = (*said.values(), *by_order.values())
    changes = [*(each.effective_ns for each in controls.limits), *(each.expires_ns for each in controls.overrides)]
    return InForce(
        max((version for _, version, _ in newest.values()), default=0),
        said.get(None, _NOTHING),
        {symbol: values for symbol, values in said.items() if symbol is not None},
        by_order,
        {each.symbol: each.state for each in controls.states},
        any(values.get(name) for values in whole for name in COUNTED),
        any(values.get(name) for values in whole for name in OF_EQUITY),
        max((at_ns for at_ns in changes if at_ns <= now_ns), default=0),
        min((at_ns for at_ns in changes if at_ns > now_ns), default=INT64_MAX),
        controls.seq,
    )


def limits_of(
    settings: Limits, symbol: str, firm: InForce, own: InForce = NOTHING_SAID, client_order_id: str = ""
) -> Limits:
    """Limits of an order in ``symbol``, of an account of which ``own`` is in force."""
    base = settings.of(symbol)
    if firm is NOTHING_SAID and own is NOTHING_SAID:
        return base
    of_symbol = firm.by_symbol.get(symbol, _NOTHING)
    is_special = base is not settings
    said: dict[str, Any] = {
        name: tighter(name, value, getattr(base, name)) if is_special else value for name, value in firm.general.items()
    }
    said.update(of_symbol)
    for name, value in own.general.items():
        is_said = is_special or name in of_symbol
        said[name] = tighter(name, value, said.get(name, getattr(base, name))) if is_said else value
    said.update(own.by_symbol.get(symbol, _NOTHING))
    said.update(own.by_order.get(client_order_id, _NOTHING))
    state = max(firm.state(symbol), own.state(symbol), key=SEVERITY.__getitem__)
    said["trading_halted"] = state is TradingState.HALTED
    if state is TradingState.REDUCING:
        said["reduce_only"] = True
    return replace(base, **said, firm_limits_version=firm.version, account_limits_version=own.version)
