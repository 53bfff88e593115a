"""The record of commands: who gave each, what became of it, and a chain in which nothing can be changed unseen."""

import json
from typing import Any

import pytest
from common.contracts.command_records import CommandRecord
from common.contracts.controls import FIRM, ControlCommand, SetTradingState, TradingState
from common.contracts.events import Caller, ReasonCode, RiskCommand
from common.contracts.topics import AUDIT_COMMANDS, RISK_COMMANDS, RISK_CONTROL_COMMANDS, RISK_DECISIONS
from common.ledger.chain import ChainVerifier, Fault
from common.testing.orders import NOW_NS, fund, set_account, withdraw
from hypothesis import given
from hypothesis import strategies as st
from risk.domain.gate import Limits
from risk.stages import OUTPUTS, Gate
from risk.tables import DAY_NS, TABLES
from streams.model.message import Message, Output
from streams.testing.tables import MemoryTables, message

PARTITION = 1
ANN = Caller(subject="ann", client="tidemark", address="127.0.0.1")
HALT = SetTradingState(
    command_id="h", account_id=FIRM, state=TradingState.HALTED, by="ann", note="test", sent_ns=NOW_NS, who=ANN
)


class Recording:
    """A gate, and what it writes to ``audit.commands``."""

    def __init__(self) -> None:
        self.tables = MemoryTables(TABLES, PARTITION)
        self._handle = Gate(Limits(), 7 * DAY_NS).handle
        self._offset = 0
        self.messages: list[Message] = []

    def give(self, command: RiskCommand | ControlCommand, who: Caller | None = ANN) -> list[Output]:
        topic = RISK_CONTROL_COMMANDS if isinstance(command, SetTradingState) else RISK_COMMANDS
        body = command.model_copy(update={"who": who})
        self._offset += 1
        record = message(topic, body.account_id.encode(), body, partition=PARTITION, offset=self._offset)
        outputs = [item for item in self._handle(record, self.tables, NOW_NS) if isinstance(item, Output)]
        for item in outputs:
            if item.topic is AUDIT_COMMANDS:
                assert isinstance(item.body, bytes)
                assert item.partition == PARTITION
                offset = 2 * len(self.messages)
                self.messages.append(Message(AUDIT_COMMANDS, PARTITION, offset, item.key, item.body, 0))
        return outputs

    @property
    def records(self) -> list[CommandRecord]:
        return [each.body for each in self.messages]


def faults(messages: list[Message]) -> list[Fault]:
    verifier = ChainVerifier(AUDIT_COMMANDS.name)
    for each in messages:
        verifier.apply_message(each)
    return [finding.fault for finding in verifier.conclude()]


def test_command_then_its_record_stands_in_the_transaction_that_decides_it() -> None:
    gate = Recording()
    outputs = gate.give(set_account("a"))
    assert AUDIT_COMMANDS in OUTPUTS
    assert [item.topic for item in outputs] == [RISK_DECISIONS, AUDIT_COMMANDS]
    (record,) = gate.records
    assert (record.account_id, record.type, record.who, record.accepted) == ("a", "set_account", ANN, True)
    assert (record.topic, record.command_partition, record.command_offset) == (RISK_COMMANDS.name, PARTITION, 1)
    assert "who" not in json.loads(record.command)
    assert json.loads(record.command)["command_id"] == record.command_id
    assert (record.chain_seq, record.decided_ns) == (1, NOW_NS)


def test_command_when_it_is_denied_then_the_record_says_why() -> None:
    gate = Recording()
    gate.give(set_account("a"))
    gate.give(withdraw("a", command_id="w", cash_e4=5))
    assert [(each.accepted, each.reason) for each in gate.records] == [
        (True, None),
        (False, ReasonCode.CASH_INSUFFICIENT),
    ]


def test_command_when_it_comes_again_from_elsewhere_then_it_is_the_same_command_and_another_record() -> None:
    gate = Recording()
    gate.give(set_account("a"))
    gate.give(set_account("a"), ANN.model_copy(update={"address": "10.0.0.9"}))
    gate.give(HALT)
    gate.give(HALT, ANN.model_copy(update={"address": "10.0.0.9"}))
    assert [(each.repeat, each.accepted) for each in gate.records] == [(False, True), (True, True)] * 2
    assert [each.who.address for each in gate.records] == ["127.0.0.1", "10.0.0.9"] * 2


def test_halt_of_the_firm_then_one_record_though_its_answer_goes_everywhere() -> None:
    gate = Recording()
    gate.give(HALT)
    (record,) = gate.records
    assert (record.account_id, record.type, record.topic) == (FIRM, "set_trading_state", RISK_CONTROL_COMMANDS.name)


def test_command_when_nobody_is_said_to_have_given_it_then_it_is_decided_without_a_record() -> None:
    """A release before writes such ones."""
    gate = Recording()
    assert [item.topic for item in gate.give(set_account("a"), who=None)] == [RISK_DECISIONS]
    assert gate.give(HALT, who=None)
    assert gate.records == []


def chained() -> list[Message]:
    gate = Recording()
    for name in ("a", "b"):
        gate.give(set_account(name))
        gate.give(fund(name, command_id="f", cash_e4=10_000))
    gate.give(HALT)
    return gate.messages


def test_chain_of_records_then_it_is_whole_and_not_the_ledger_s() -> None:
    messages = chained()
    assert len(messages) == 5
    assert faults(messages) == []
    other = ChainVerifier()
    for each in messages:
        other.apply_message(each)
    assert other.conclude(), "the ledger's chain begins elsewhere"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"accepted": False}, Fault.ALTERED),
        ({"who": {"subject": "bob", "client": "", "address": "::1"}}, Fault.ALTERED),
        ({"decided_ns": NOW_NS + 1}, Fault.ALTERED),
    ],
)
def test_record_when_it_is_altered_then_found(change: dict[str, Any], fault: Fault) -> None:
    messages = chained()
    altered = json.loads(messages[2].value or b"") | change
    value = json.dumps(altered, separators=(",", ":")).encode()
    messages[2] = Message(AUDIT_COMMANDS, PARTITION, messages[2].offset, messages[2].key, value, 0)
    assert fault in faults(messages)


@given(at=st.integers(0, 3))
def test_record_when_it_is_dropped_or_moved_then_found(at: int) -> None:
    messages = chained()
    assert Fault.DROPPED in faults([*messages[:at], *messages[at + 1 :]])
    moved = [*messages[:at], messages[at + 1], messages[at], *messages[at + 2 :]]
    assert faults(moved)
