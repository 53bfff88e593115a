"""Market alerts that request halts: which rows do, and that a gate on a real broker carries each out once."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from common.contracts.alerts import ALERT, AlertKind, Phase, Severity
from common.contracts.controls import FIRM, ControlResult, SetTradingState, TradingState
from common.contracts.reason_codes import ReasonCode
from common.contracts.topics import MD_ALERTS, RISK_CONTROL_COMMANDS, RISK_CONTROLS
from common.fleet_topics import create_topics
from parts import LocalStack
from parts.ports import free_port
from parts.processes import Process
from risk.alert_halts import BY, halt_of
from streams.edges.reader import CommittedReader
from streams.edges.sender import Sender
from streams.model.message import Message
from streams.process.settings import KafkaSettings, RedisSettings, Settings

S = 1_000_000_000
NOW_NS = 1_800_000_000 * S
DEADLINE_S = 300


def row(severity: Severity, phase: Phase, symbol: str = "GME", revision: int = 0) -> Any:
    rows = np.zeros(1, ALERT)
    rows["symbol"], rows["kind"] = symbol.encode(), AlertKind.PRICE_JUMP.encode()
    rows["severity"], rows["phase"] = severity.name.encode(), phase.encode()
    rows["peak_ppm"], rows["threshold_ppm"], rows["revision"] = 123_000, 50_000, revision
    return rows


def record(rows: Any, age_ns: int = 0) -> Message:
    value = MD_ALERTS.schema.encode(rows)
    return Message(MD_ALERTS, 3, 1041, b"GME", value, (NOW_NS - age_ns) // 1_000_000)


@pytest.mark.parametrize("severity", Severity)
@pytest.mark.parametrize("phase", Phase)
def test_alert_then_it_requests_a_halt_where_it_becomes_critical_and_nowhere_else(
    severity: Severity, phase: Phase
) -> None:
    command = halt_of(record(row(severity, phase)), 60 * S, NOW_NS)
    assert (command is not None) == (severity is Severity.CRITICAL and phase is not Phase.END)


def test_request_then_it_is_automatic_of_the_firm_in_the_symbol_and_named_by_its_place() -> None:
    command = halt_of(record(row(Severity.CRITICAL, Phase.RISE)), 60 * S, NOW_NS)
    assert command is not None
    assert (command.account_id, command.symbol, command.state) == (FIRM, "GME", TradingState.HALTED)
    assert (command.automatic, command.by, command.command_id) == (True, BY, "alert-3-1041")
    assert command.note == "PRICE_JUMP is critical: 0.123, threshold 0.05"


def test_alert_when_it_was_written_long_ago_then_it_requests_nothing() -> None:
    critical = row(Severity.CRITICAL, Phase.BEGIN)
    assert halt_of(record(critical, age_ns=60 * S), 60 * S, NOW_NS) is not None
    assert halt_of(record(critical, age_ns=60 * S + 1_000_000), 60 * S, NOW_NS) is None


# --- on a real broker ---------------------------------------------------------------------------------------------


class World:
    """A gate, and what is put in front of it."""

    def __init__(self, settings: Settings, sender: Sender, reader: CommittedReader) -> None:
        self.settings, self.sender = settings, sender
        self._reader = reader
        self._answers: dict[str, ControlResult] = {}

    async def alert(self, rows: Any) -> str:
        """Returns the id of the command that it may request."""
        partition, offset = await self.sender.send(MD_ALERTS, rows["symbol"][0], rows)
        return f"alert-{partition}-{offset}"

    async def state(self, state: TradingState, *, automatic: bool, command_id: str) -> ControlResult:
        said = SetTradingState(
            command_id=command_id, account_id=FIRM, symbol="GME", state=state, automatic=automatic, by="ann",
            note="why", sent_ns=time.time_ns(),
        )  # fmt: skip
        await self.sender.send(RISK_CONTROL_COMMANDS, FIRM.encode(), said)
        return await self.answer(command_id)

    async def answer(self, command_id: str) -> ControlResult:
        """The gate's first answer to a command."""
        async with asyncio.timeout(DEADLINE_S):
            while command_id not in self._answers:
                for message in await self._reader.gather(100, 0.5):
                    result: ControlResult = message.body
                    self._answers.setdefault(result.command_id, result)
        return self._answers[command_id]

    @property
    def answered(self) -> set[str]:
        return set(self._answers)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A risk service that halts on alerts, on a broker of its own, since its topics have their real names."""
    with LocalStack({"kafka"}) as parts:
        bootstrap, port = parts.addresses.kafka_bootstrap, free_port()
        await create_topics(bootstrap)
        env = {
            "TIDEMARK_KAFKA_BOOTSTRAP": bootstrap,
            "TIDEMARK_REDIS_URL": "",
            "TIDEMARK_DATA_DIR": str(tmp_path / "data"),
            "TIDEMARK_HTTP_PORT": str(port),
            "TIDEMARK_WORKER_ID": "risk-1",
            "TIDEMARK_HALT_ON_ALERTS": "true",
        }
        command = [sys.executable, "-m", "risk", "worker", "--without-web"]
        process = await asyncio.to_thread(Process, command, log=tmp_path / "worker.log", env=env)
        settings = Settings(kafka=KafkaSettings(bootstrap=bootstrap), redis=RedisSettings(url=""))
        sender = Sender(settings, "test")
        await sender.start()
        try:
            await _ready(port)
            async with CommittedReader(settings, [RISK_CONTROLS], from_beginning=True) as reader:
                yield World(settings, sender, reader)
        finally:
            await sender.stop()
            await asyncio.to_thread(process.stop, by=signal.SIGTERM, grace_s=20)


async def _ready(port: int) -> None:
    async with httpx.AsyncClient() as client, asyncio.timeout(DEADLINE_S):
        while True:
            try:
                if (await client.get(f"http://127.0.0.1:{port}/health/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_critical_alert_then_the_gate_halts_its_symbol_until_a_person_resumes_it(world: World) -> None:
    begun = await world.alert(row(Severity.HIGH, Phase.BEGIN))
    risen = await world.alert(row(Severity.CRITICAL, Phase.RISE, revision=1))
    halted = await world.answer(risen)
    assert halted.accepted and halted.controls is not None
    (state,) = halted.controls.states
    assert (state.symbol, state.state, state.by) == ("GME", TradingState.HALTED, BY)

    refused = await world.state(TradingState.ACTIVE, automatic=True, command_id="program")
    assert refused.reason == ReasonCode("RESUME_NEEDS_PERSON")
    resumed = await world.state(TradingState.ACTIVE, automatic=False, command_id="person")
    assert resumed.controls is not None and not resumed.controls.states

    ended = await world.alert(row(Severity.CRITICAL, Phase.END, revision=2))
    other = await world.alert(row(Severity.CRITICAL, Phase.BEGIN, symbol="GME", revision=0))
    again = await world.answer(other)  # another episode: whatever stands before it in the log was seen by then
    assert again.controls is not None and len(again.controls.states) == 1
    assert not world.answered & {begun, ended}
