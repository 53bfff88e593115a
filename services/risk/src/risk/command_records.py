"""Record of commands: who gave each, and what became of it, in the transaction that decides it."""

from typing import Final

import msgspec
from common.contracts.controls import ControlCommand, ControlResult
from common.contracts.events import CommandResult, RiskCommand
from common.contracts.topics import AUDIT_COMMANDS
from streams.model.message import Message, Output
from streams.model.tables import Tables

from risk.domain.chain import ChainRow, genesis, link

RECORD_KEY: Final = AUDIT_COMMANDS.name.encode()
"""Key of the last record's link, in the table of chains."""
_encode: Final = msgspec.json.encode


def with_record(
    message: Message, command: RiskCommand | ControlCommand, outputs: list[Output], tables: Tables
) -> list[Output]:
    """The outputs, whose first one answers the command, and its record as the next link of the partition's chain.

    A command that says of nobody that he gave it has no record: one of a release before, or of no request.
    """
    if command.who is None:
        return outputs
    result = outputs[0].body
    assert isinstance(result, CommandResult | ControlResult), "a command is answered first"
    assert message.key is not None
    record = {
        "account_id": command.account_id,
        "type": command.type,
        "command_id": command.command_id,
        "topic": message.topic.name,
        "command_partition": message.partition,
        "command_offset": message.offset,
        "command": command.model_dump_json(exclude_none=True, exclude={"who"}),
        "who": command.who.model_dump(),
        "accepted": result.accepted,
        **({} if result.reason is None else {"reason": result.reason}),
        "repeat": result.repeat,
        "decided_ns": result.decided_ns,
    }
    last: ChainRow | None = tables.changelogged("chain").get(RECORD_KEY)
    value, head = link(last or genesis(message.partition, AUDIT_COMMANDS.name), _encode(record))
    tables.changelogged("chain").put(RECORD_KEY, head)
    return [*outputs, Output(AUDIT_COMMANDS, message.key, value, message.partition)]
