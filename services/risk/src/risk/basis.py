"""Says what decisions stand on, where nothing else on the log does: see ``contracts.basis``.

It is said by the first intent that meets it, and again by the first of each day, so that it is never older than the
decisions that stand on it. What was said last is a row of a table, so that it is said once, whatever is killed.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from common.check_digests import digests_of
from common.checks.case import TRADING
from common.checks.check import CheckChain
from common.contracts.basis import Basis, GateRules, LimitsOfSymbol, Losses, MarkBasis
from common.contracts.controls import FIRM
from common.contracts.topics import RISK_BASIS
from msgspec.structs import fields
from streams.model.message import Output
from streams.model.tables import Tables

from risk.domain.equity import DAY_NS
from risk.domain.gate import Limits, Listed
from risk.domain.in_force import NOTHING_SAID, InForce
from risk.domain.intent import Order
from risk.equity import Measured
from risk.tables import SaidBasis

TABLE: Final = "basis"
_FIRM_KEY: Final = FIRM.encode()
_NAMES: Final = tuple(field.name for field in fields(Limits) if field.name != "by_symbol")
_NUMBER_BITS: Final = 60


class BasisWriter:
    """Writer of one gate's basis: its code, and the limits of its deployment."""

    def __init__(self, release: str, gate: CheckChain, limits: Limits) -> None:
        self._rules: Final = GateRules(
            release=release,
            checks=digests_of(gate),
            limits=_as_numbers(limits),
            of_symbols=tuple(
                LimitsOfSymbol(
                    symbol=symbol, limits=dict(sorted(_as_numbers(each).items() - _as_numbers(limits).items()))
                )
                for symbol, each in sorted(limits.by_symbol.items())
            ),
        )
        self._number: Final = _number_of(self._rules)

    def of_intent(
        self, tables: Tables, account_key: bytes, order: Order, own: InForce, firm: InForce, listed: Listed,
        measured: Measured, offset: int, now_ns: int,
    ) -> list[Basis]:  # fmt: skip
        """Records that the intent at this offset has to write first."""
        return [
            *self.of_firm(tables, firm, offset, now_ns),
            *self.of_mark(tables, listed, offset, now_ns, expires=order.expire_ns is not None),
            *self.of_account(tables, account_key, own, measured, offset, now_ns),
        ]

    def of_firm(self, tables: Tables, firm: InForce, offset: int, now_ns: int) -> list[Basis]:
        """Code, limits, and the firm's controls."""
        if not _is_new(tables, _FIRM_KEY, (now_ns // DAY_NS, self._number, firm.seq)):
            return []
        return [Basis(account_id=FIRM, intent_offset=offset, said_ns=now_ns, gate=self._rules, controls_seq=firm.seq)]

    @staticmethod
    def of_account(
        tables: Tables, account_key: bytes, own: InForce, measured: Measured, offset: int, now_ns: int
    ) -> list[Basis]:
        """The account's own controls, and what it has lost, where a limit asks."""
        if own is NOTHING_SAID and not measured.is_asked:
            return []
        lost = measured.losses
        if not _is_new(tables, account_key, (now_ns // DAY_NS, own.seq, int(measured.is_asked), *lost)):
            return []
        losses = Losses(loss_e4=lost.loss_e4, drawdown_e4=lost.drawdown_e4) if measured.is_asked else None
        account_id = account_key.decode()
        return [Basis(account_id=account_id, intent_offset=offset, said_ns=now_ns, controls_seq=own.seq, losses=losses)]

    @staticmethod
    def of_mark(tables: Tables, listed: Listed, offset: int, now_ns: int, *, expires: bool) -> list[Basis]:
        """Facts of its mark that a decision does not say, where a decision needs them."""
        if not is_unusual(listed, expires=expires):
            return []
        market, mark = listed.market, listed.market.mark
        assert mark is not None and market.instrument is not None
        symbol = market.instrument.symbol
        clock_event_ns = mark.event_ns + market.reference_age_ns
        numbers = (now_ns // DAY_NS, mark.partition, mark.offset, market.trading_state, mark.clock_ns, clock_event_ns)
        if not _is_new(tables, b"%s/%s" % (_FIRM_KEY, symbol.encode()), numbers):
            return []
        said = MarkBasis(
            symbol=symbol,
            partition=mark.partition,
            offset=mark.offset,
            trading_state=market.trading_state,
            clock_ns=mark.clock_ns,
            clock_event_ns=clock_event_ns,
        )
        return [Basis(account_id=FIRM, intent_offset=offset, said_ns=now_ns, mark=said)]


def is_unusual(listed: Listed, *, expires: bool) -> bool:
    """Whether a decision on an order that meets it needs more of the mark than it carries.

    The symbol does not trade; or a limit, or an order that ``expires``, asks what time it is at the exchange.
    """
    market = listed.market
    if market.mark is None or market.instrument is None:
        return False
    return expires or market.trading_state != TRADING or listed.limits.reference_age_max_ns > 0


def outputs_of(said: Sequence[Basis], partition: int) -> list[Output]:
    """Records of one intent."""
    return [Output(RISK_BASIS, each.account_id.encode(), each, partition) for each in said]


def _is_new(tables: Tables, key: bytes, numbers: tuple[int, ...]) -> bool:
    """Whether something else, or nothing, was said last; then this is."""
    table = tables.changelogged(TABLE)
    last: SaidBasis | None = table.get(key)
    if last is not None and last.numbers == numbers:
        return False
    table.put(key, SaidBasis(numbers))
    return True


def _as_numbers(limits: Limits) -> dict[str, int]:
    return {name: int(getattr(limits, name)) for name in _NAMES}


def _number_of(rules: GateRules) -> int:
    return int.from_bytes(sha256(rules.model_dump_json().encode()).digest(), "big") >> (256 - _NUMBER_BITS)
