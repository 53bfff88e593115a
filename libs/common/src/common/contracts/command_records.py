"""Commands, who gave them, and what became of them: ``audit.commands``, written with the decision and never changed."""

from typing import Annotated

from pydantic import Field

from common.contracts.events import Caller, Event
from common.contracts.personal import Personal
from common.contracts.reason_codes import ReasonCode
from common.contracts.values import AccountId, ClientOrderId, Sha256, TimestampNs


class CommandRecord(Event):
    """One command on an account, a limit or a trading state, with its caller. Key: account_id, or ``_firm``.

    Records of a partition are chained as the entries of ``risk.ledger`` are (``events.LedgerEntry``); before the first
    one stands SHA-256(``audit.commands/{partition}``).
    """

    account_id: AccountId
    type: str = Field(description="of the command, as its topic has it")
    command_id: ClientOrderId
    topic: str
    command_partition: int
    command_offset: int
    command: Annotated[str, Personal.TEXT] = Field(description="all of it as JSON, but for who gave it")
    who: Caller
    accepted: bool
    reason: ReasonCode | None = None
    repeat: bool
    decided_ns: TimestampNs
    chain_seq: int = Field(ge=1)
    chain: Annotated[Sha256, Personal.TEXT]

    @property
    def seq(self) -> int:
        """Its number among those of its partition."""
        return self.chain_seq
