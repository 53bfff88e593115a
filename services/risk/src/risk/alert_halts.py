"""Market alerts that ask for a halt: of a CRITICAL one the symbol is halted for the firm, until a person resumes it.

The request is a command like anybody's, and the gate decides it. Its id is the place of the alert's row in the log: it
may be sent again, and is carried out once. An episode has one row by which it becomes critical, so what a person has
resumed stays resumed while the episode goes on.
"""

from collections.abc import Callable, Sequence
from typing import Final

from common.contracts.alerts import AlertKind, Alerts, Phase, Severity
from common.contracts.controls import FIRM, SetTradingState, TradingState
from common.contracts.topics import MD_ALERTS, RISK_CONTROL_COMMANDS
from prometheus_client import Counter
from streams.edges.followers import Positions
from streams.edges.sender import Sender
from streams.model.message import Message

TOPICS: Final = (MD_ALERTS,)
BY: Final = "market-alerts"
NS_PER_MS: Final = 1_000_000
REQUESTED: Final = Counter(
    "tidemark_risk_alert_halts_total", "Halts that were requested because of a critical market alert, by kind", ["kind"]
)


def halt_of(message: Message, age_max_ns: int, now_ns: int) -> SetTradingState | None:
    """The request that a record of ``md.alerts`` makes; None where its alert becomes no critical one there, or was
    written more than ``age_max_ns`` ago.
    """
    rows: Alerts = message.body
    row = rows[0]
    is_critical = row["severity"].decode() == Severity.CRITICAL.name and row["phase"].decode() != Phase.END
    if not is_critical or message.timestamp_ms * NS_PER_MS < now_ns - age_max_ns:
        return None
    return SetTradingState(
        command_id=f"alert-{message.partition}-{message.offset}",
        account_id=FIRM,
        symbol=row["symbol"].decode(),
        state=TradingState.HALTED,
        automatic=True,
        by=BY,
        note=f"{row['kind'].decode()} is critical: {row['peak_ppm'] / 1e6:g}, threshold {row['threshold_ppm'] / 1e6:g}",
        sent_ns=now_ns,
    )


class AlertHalts:
    """Reads ``md.alerts`` and requests halts. Where sending fails it is asked again, from what it had sent."""

    def __init__(self, sender: Sender, age_max_ns: int, clock_ns: Callable[[], int]) -> None:
        self._sender = sender
        self._age_max_ns = age_max_ns
        self._clock_ns = clock_ns
        self._positions: dict[tuple[str, int], int] = {}
        for kind in AlertKind:
            REQUESTED.labels(kind)

    async def positions(self) -> Positions:
        """Positions to read on from; at its start the beginning, since old alerts request nothing."""
        return self._positions

    async def apply(self, messages: Sequence[Message], positions: Positions) -> None:
        now_ns = self._clock_ns()
        for message in messages:
            if (command := halt_of(message, self._age_max_ns, now_ns)) is not None:
                await self._sender.send(RISK_CONTROL_COMMANDS, FIRM.encode(), command)
                REQUESTED.labels(message.body[0]["kind"].decode()).inc()
        self._positions |= positions

    async def on_started(self, positions: Positions) -> None:
        self._positions = dict(positions)

    async def wants_anew(self) -> bool:
        return False
