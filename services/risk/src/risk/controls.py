"""Commands on limits and trading states, and the limits that an order is held to because of them.

The partition that the firm's commands come to decides them, and writes what is in force then to every partition. Each
of them keeps its own copy, so that a restart finds it, and every order is decided under one that the log names.
"""

from typing import Final

import msgspec
from common.contracts.controls import FIRM, ControlCommand, ControlResult, Controls, SetTradingState, TradingState
from common.contracts.events import ReasonCode
from common.contracts.topics import RISK_CONTROLS
from streams.model.message import Message, Output
from streams.model.tables import Codec, Tables

from risk.domain.activity import is_counted, is_measured
from risk.domain.controls import carry_out_control
from risk.domain.gate import Denial, Limits
from risk.domain.in_force import NOTHING_SAID, InForce, in_force, limits_of
from risk.tables import CONTROLLED_KEY, FIRM_COPY_KEY, Controlled, SeenControl, command_key

__all__ = ["LimitReader", "on_control_command", "on_controls", "on_halting_denial"]

GATE_ITSELF: Final = "gate"
"""Name of the gate where it halts in the place of a person."""

_encode: Final = Codec(lambda row: row.model_dump_json().encode(), ControlResult.model_validate_json)


# --- commands -----------------------------------------------------------------------------------------------------


def on_control_command(message: Message, command: ControlCommand, tables: Tables, now_ns: int) -> list[Output]:
    """Answers a command: done, denied, or as before where its id was answered."""
    seen_commands = tables.changelogged("control_commands")
    row_key = command_key(command.account_id, command.command_id)
    seen: SeenControl | None = seen_commands.get(row_key)
    body = command.model_dump(mode="json", exclude={"sent_ns", "who"})
    if seen is not None:
        before = msgspec.json.decode(seen.command)
        conflict = next((name for name in (*body, *before) if body.get(name) != before.get(name)), None)
        if conflict is None:
            answer: ControlResult = _encode.decode(seen.result)
            again = {"repeat": True, "controls": None, **_place(message)}
            return [_output(message, answer.model_copy(update=again), message.partition)]
        denied = _result(message, command, Denial(ReasonCode.DUPLICATE_ID, {}), now_ns)
        return [_output(message, denied.model_copy(update={"conflict": conflict}), message.partition)]
    result = _result(message, command, _carried_out(command, tables, now_ns), now_ns)
    seen_commands.put(row_key, SeenControl(msgspec.json.encode(body), _encode.encode(result), now_ns))
    if result.controls is not None:
        _keep(tables, command.account_id.encode(), result.controls)
    is_everywhere = result.controls is not None and command.account_id == FIRM
    partitions = range(RISK_CONTROLS.partitions) if is_everywhere else (message.partition,)
    return [_output(message, result, partition) for partition in partitions]


def on_halting_denial(message: Message, account_id: str, why: str, tables: Tables, now_ns: int) -> list[Output]:
    """Halts the account of an intent in the transaction of its denial; a person resumes it.

    It answers no command, which ``command_offset`` says.
    """
    command = SetTradingState(
        command_id=f"halt-{message.partition}-{message.offset}",
        account_id=account_id,
        state=TradingState.HALTED,
        automatic=True,
        by=GATE_ITSELF,
        note=why,
        sent_ns=now_ns,
    )
    result = _result(message, command, _carried_out(command, tables, now_ns), now_ns)
    if result.controls is not None:
        _keep(tables, account_id.encode(), result.controls)
    nowhere = result.model_copy(update={"command_partition": -1, "command_offset": -1})
    return [_output(message, nowhere, message.partition)]


def _carried_out(command: ControlCommand, tables: Tables, now_ns: int) -> Controls | Denial:
    key = command.account_id.encode()
    if command.account_id != FIRM and tables.changelogged("accounts").get(key) is None:
        return Denial(ReasonCode.ACCOUNT_UNKNOWN, {})
    before: Controls | None = tables.changelogged("controls").get(key)
    return carry_out_control(before or Controls(account_id=command.account_id), command, now_ns)


def _place(message: Message) -> dict[str, int]:
    return {"command_partition": message.partition, "command_offset": message.offset}


def _result(message: Message, command: ControlCommand, made: Controls | Denial, now_ns: int) -> ControlResult:
    denial = made if isinstance(made, Denial) else None
    return ControlResult(
        account_id=command.account_id,
        command_id=command.command_id,
        accepted=denial is None,
        reason=None if denial is None else denial.reason,
        compared={} if denial is None else denial.compared,
        controls=None if isinstance(made, Denial) else made,
        decided_ns=now_ns,
        **_place(message),
    )


def _output(message: Message, result: ControlResult, partition: int) -> Output:
    assert message.key is not None
    return Output(RISK_CONTROLS, message.key, result, partition)


def on_controls(message: Message, result: ControlResult, tables: Tables) -> list[Output]:
    """Takes what another partition has decided for the firm; and of accounts what a lost store had."""
    if result.controls is not None:
        key = FIRM_COPY_KEY if result.account_id == FIRM else message.key
        assert key is not None
        _keep(tables, key, result.controls)
    return []


def _keep(tables: Tables, key: bytes, controls: Controls) -> None:
    """Writes the newer ones."""
    table = tables.changelogged("controls")
    before: Controls | None = table.get(key)
    if before is not None and before.seq >= controls.seq:
        return
    table.put(key, controls)
    if before is None and key not in (FIRM_COPY_KEY, FIRM.encode()):
        known: Controlled = tables.changelogged("controlled").get(CONTROLLED_KEY) or Controlled()
        tables.changelogged("controlled").put(CONTROLLED_KEY, Controlled(known.accounts + 1))


# --- limits of an order -------------------------------------------------------------------------------------------


class LimitReader:
    """Limits that orders are held to. Where nobody has set any since the start they are those of the deployment."""

    def __init__(self, settings: Limits) -> None:
        self.settings: Final = settings
        self._is_counted: Final = any(map(is_counted, (settings, *settings.by_symbol.values())))
        self._is_measured: Final = any(map(is_measured, (settings, *settings.by_symbol.values())))
        self._firm: tuple[int, InForce] = (-1, NOTHING_SAID)
        """The newest that was read of the firm, with its number."""
        self._of_symbol: dict[str, Limits] = {}
        """Under the firm's; as many as there are marks."""

    def firm(self, tables: Tables, now_ns: int) -> InForce:
        """Controls in force of the firm."""
        controls: Controls | None = tables.changelogged("controls").get(FIRM_COPY_KEY)
        if controls is None:
            return NOTHING_SAID
        seq, last = self._firm
        if controls.seq != seq or not last.from_ns <= now_ns < last.until_ns:
            self._firm = controls.seq, in_force(controls, now_ns)
            self._of_symbol = {}
        return self._firm[1]

    @staticmethod
    def some_have_own(tables: Tables) -> bool:
        """Whether anything was ever said of an account of the partition."""
        return tables.changelogged("controlled").get(CONTROLLED_KEY) is not None

    def own(self, tables: Tables, account_key: bytes, now_ns: int) -> InForce:
        """Controls in force of an account."""
        if not self.some_have_own(tables):
            return NOTHING_SAID
        return in_force(tables.changelogged("controls").get(account_key), now_ns)

    def of(self, symbol: str, firm: InForce, own: InForce = NOTHING_SAID, client_order_id: str = "") -> Limits:
        """Limits of an order."""
        if own is not NOTHING_SAID:
            return limits_of(self.settings, symbol, firm, own, client_order_id)
        if firm is NOTHING_SAID:
            return self.settings.of(symbol)
        known = self._of_symbol.get(symbol)
        if known is None:
            known = self._of_symbol[symbol] = limits_of(self.settings, symbol, firm)
        return known

    def counted(self, firm: InForce, own: InForce = NOTHING_SAID) -> Limits | None:
        """The limits, for their periods, where one of them asks what an account did lately."""
        return self.settings if self._is_counted or firm.is_counted or own.is_counted else None

    def is_measured(self, firm: InForce, own: InForce = NOTHING_SAID) -> bool:
        """Whether one of the limits asks what an account has lost."""
        return self._is_measured or firm.is_measured or own.is_measured
