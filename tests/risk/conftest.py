"""A desk: the gate's handler on tables in memory, with its committed outputs kept for reading."""

from collections.abc import Callable
from typing import Any

import pytest
from common.contracts.basis import Basis
from common.contracts.breaks import BreakResolution, ExecutionBreak
from common.contracts.controls import ControlCommand, ControlResult, ProposeLimits, ResolveLimits, SetTradingState
from common.contracts.events import (
    CommandResult,
    Decision,
    ExecutionReport,
    LedgerEntry,
    OrderIntent,
    RiskCommand,
)
from common.contracts.limit_warnings import LimitWarning
from common.contracts.market import mark_clock_key
from common.contracts.topics import (
    ORDERS_EXECUTIONS,
    ORDERS_INTENTS,
    RISK_BASIS,
    RISK_BREAKS,
    RISK_COMMANDS,
    RISK_CONTROL_COMMANDS,
    RISK_CONTROLS,
    RISK_DECISIONS,
    RISK_WARNINGS,
    RISK_WHAT_IFS,
    Topic,
)
from common.contracts.what_ifs import WhatIf, WhatIfAnswer
from common.testing.orders import ACCOUNT, NOW_NS, clock_row, fund, instrument, mark_row, set_account
from risk.basis import BasisWriter
from risk.domain.gate import GATE, Limits
from risk.stages import SHOWS, Gate
from risk.tables import DAY_NS, TABLES
from streams.model.message import Output, View
from streams.testing.tables import MemoryTables, message, shown, written

PARTITION = 2
MARK_PARTITION = 3
TOPICS: dict[type[Any], Topic] = {
    OrderIntent: ORDERS_INTENTS,
    ExecutionReport: ORDERS_EXECUTIONS,
    ProposeLimits: RISK_CONTROL_COMMANDS,
    ResolveLimits: RISK_CONTROL_COMMANDS,
    SetTradingState: RISK_CONTROL_COMMANDS,
    ControlResult: RISK_CONTROLS,
    WhatIf: RISK_WHAT_IFS,
    WhatIfAnswer: RISK_WHAT_IFS,
}


class Desk:
    """Sends messages as the runtime does, one by one; a message that is refused leaves the tables as they were."""

    def __init__(self, limits: Limits | None = None, retention_ns: int = 7 * DAY_NS) -> None:
        self.tables = MemoryTables(TABLES, PARTITION)
        self.decisions: list[Decision] = []
        self.results: list[CommandResult] = []
        self.ledger: list[LedgerEntry] = []
        self.breaks: list[ExecutionBreak | BreakResolution] = []
        self.controls: list[ControlResult] = []
        self.warnings: list[LimitWarning] = []
        self.views: list[View] = []
        self.keeps_views = True
        """A long history looks at every row with every message."""
        self.now_ns = NOW_NS
        self.offsets: dict[str, int] = {}
        self.basis: list[Basis] = []
        self.answered: list[Decision | CommandResult] = []
        """Records of ``risk.decisions`` in their order."""
        self.limits = limits or Limits()
        self._handle = Gate(self.limits, retention_ns, basis=BasisWriter("1.0", GATE, self.limits)).handle
        self.list_instrument("ACME", 3)
        self.tick()

    # --- the market ------------------------------------------------------------------------------------------------

    def list_instrument(self, symbol: str, instrument_id: int, lot_size: int = 1, **fields: Any) -> None:
        listed = instrument(symbol, instrument_id, lot_size=lot_size)
        self.tables.globals("instruments").put(symbol.encode(), listed)
        self.mark(symbol, **fields)

    def mark(self, symbol: str = "ACME", **fields: Any) -> None:
        self.tables.globals("marks").put(symbol.encode(), mark_row(symbol, **fields), MARK_PARTITION)

    def tick(self) -> None:
        """The clock of the marks' partition shows the present."""
        marks = self.tables.globals("marks")
        marks.put(mark_clock_key(MARK_PARTITION), clock_row(self.now_ns), MARK_PARTITION)

    # --- messages --------------------------------------------------------------------------------------------------

    def send(
        self,
        body: OrderIntent | RiskCommand | ExecutionReport | ControlCommand | ControlResult | WhatIf | WhatIfAnswer,
        key: bytes | None = None,
    ) -> list[Any]:
        """Sends a message; returns what readers of the output topics get to see, which is also kept by kind."""
        topic = TOPICS.get(type(body), RISK_COMMANDS)
        offset = self.offsets.get(topic.name, 0)
        self.offsets[topic.name] = offset + 1
        record = message(
            topic, body.account_id.encode() if key is None else key, body, partition=PARTITION, offset=offset
        )
        seen: list[Any] = []
        before = self.tables.rows() if self.keeps_views else {}
        for item in self._handle(record, self.tables, self.now_ns):
            assert isinstance(item, Output)
            if item.topic is RISK_BASIS:
                assert item.partition == PARTITION
                self.basis.append(written(item))
                continue
            assert item.key == body.account_id.encode()
            if item.partition != PARTITION:
                assert item.topic is RISK_CONTROLS
                continue
            seen.append(written(item))
            if item.topic is RISK_DECISIONS:
                (self.decisions if isinstance(seen[-1], Decision) else self.results).append(seen[-1])
                self.answered.append(seen[-1])
            elif item.topic is RISK_BREAKS:
                self.breaks.append(seen[-1])
            elif item.topic is RISK_CONTROLS:
                self.controls.append(seen[-1])
            elif item.topic is RISK_WARNINGS:
                self.warnings.append(seen.pop())
            elif item.topic is RISK_WHAT_IFS:
                continue
            else:
                self.ledger.append(seen[-1])
        for (table, row_key), raw in self.tables.rows().items() if self.keeps_views else ():
            if table in SHOWS and before.get((table, row_key)) != raw:
                self.views.append(shown(SHOWS[table](row_key), self.tables))
        return seen

    def decide(self, body: OrderIntent) -> Decision:
        """The one decision on an intent."""
        decisions = [seen for seen in self.send(body) if isinstance(seen, Decision)]
        assert len(decisions) == 1
        return decisions[0]

    def command(self, body: RiskCommand) -> CommandResult:
        """The one result of a command."""
        results = [seen for seen in self.send(body) if isinstance(seen, CommandResult)]
        assert len(results) == 1
        return results[0]

    def control(self, body: ControlCommand) -> ControlResult:
        """The answer to a command on limits or trading states, after every partition has heard of it."""
        (result,) = self.send(body)
        assert isinstance(result, ControlResult)
        assert self.send(result) == []
        return result

    def open(self, account_id: str = ACCOUNT, cash_e4: int = 0, shares: int = 0) -> None:
        """An active account with cash, and shares of ACME."""
        self.send(set_account(account_id))
        if cash_e4:
            self.send(fund(account_id, command_id="cash", cash_e4=cash_e4))
        if shares:
            self.send(fund(account_id, command_id="shares", symbol="ACME", qty=shares))


@pytest.fixture
def new_desk() -> Callable[..., Desk]:
    return Desk


@pytest.fixture
def desk() -> Desk:
    return Desk()
