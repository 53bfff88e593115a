"""The gate on the real stage runtime and a log in memory, killed anywhere: money and answers are those of one run."""

import asyncio
import itertools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from common.contracts.events import Decision, EntryKind, ExecType
from common.contracts.topics import (
    ORDERS_EXECUTIONS,
    ORDERS_INTENTS,
    RISK_BREAKS,
    RISK_COMMANDS,
    RISK_DECISIONS,
    RISK_GATE_CHANGELOG,
    RISK_LEDGER,
    Topic,
)
from common.contracts.values import E4, Side
from common.ledger.balances import fold
from common.testing.orders import NOW_NS, fund, intent, report, set_account, trade
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from risk.domain.gate import Limits
from risk.stages import INPUTS, OUTPUTS, VERIFY, Gate
from risk.tables import DAY_NS, TABLES
from streams.model.declaration import Stage
from streams.model.errors import Retriable
from streams.model.log import Partition, Record
from streams.model.tables import Changelogged
from streams.process.settings import BatchSettings, Settings
from streams.stage.task import Task
from streams.state.store import positions_of, row_key
from streams.testing.memory_log import MemoryLog
from streams.testing.memory_store import MemoryStore

ACCOUNTS = ("a", "b")


class Killed(BaseException):
    """The process is gone."""


class Killer:
    """Kills at the given steps, counted over the whole history; dead until revived."""

    def __init__(self, kills: Iterable[int]) -> None:
        self._kills = set(kills)
        self._steps = itertools.count()
        self._dead = False

    def __call__(self, _step: str) -> None:
        if self._dead or next(self._steps) in self._kills:
            self._dead = True
            raise Killed

    def revive(self) -> None:
        self._dead = False


ABOVE: dict[str, Any] = {"side": Side.SELL, "limit_price_e4": 101 * E4}
"""A SELL that does not cross the BUY orders of its account."""


def inputs() -> list[tuple[Topic, Any]]:
    """Two accounts that trade both ways; a repeat, a conflict, a second report, one that is refused, and poison."""
    messages: list[tuple[Topic, Any]] = []
    for account_id in ACCOUNTS:
        messages += [
            (RISK_COMMANDS, set_account(account_id)),
            (RISK_COMMANDS, fund(account_id, command_id="f", cash_e4=3_000 * E4, symbol="ACME", qty=30)),
        ]
    orders = [
        intent(f"o{number}", account_id, **(ABOVE if number % 3 == 2 else {}))
        for number, account_id in itertools.product(range(6), ACCOUNTS)
    ]
    messages += [(ORDERS_INTENTS, order) for order in orders]
    messages += [
        (ORDERS_INTENTS, orders[0]),
        (ORDERS_INTENTS, orders[1].model_copy(update={"qty": 1})),
        (ORDERS_INTENTS, b"poison"),
    ]
    fill = trade(orders[0], "x1", 4, 99 * E4, cum_qty=4)
    overfill = trade(orders[1], "x2", 11, 100 * E4, cum_qty=11)
    messages += [(ORDERS_EXECUTIONS, body) for body in (fill, fill, overfill)]
    messages.append((ORDERS_EXECUTIONS, report(orders[3], ExecType.CANCELED, "x3")))
    return messages


def feed(log: MemoryLog, topic: Topic) -> None:
    """All that comes on one topic. Phases keep the cause before its effect, as the fleet does."""
    for of, body in inputs():
        if of is topic:
            poison = isinstance(body, bytes)
            key = b"a" if poison else body.account_id.encode()
            log.put(Partition(topic.name, 0), Record(key, body if poison else topic.schema.encode(body), 0))


async def run_to_end(
    log: MemoryLog, store: MemoryStore, desk: Any, path: Path, losses: list[int], batched: bool = False
) -> None:
    gate = Gate(Limits(), DAY_NS)
    stage = Stage("risk", "gate", gate.handle, INPUTS, OUTPUTS, RISK_GATE_CHANGELOG, TABLES, verify=VERIFY)
    stage = replace(stage, batch_handler=gate.handle_batch if batched else None)
    shared = {name: desk.tables.globals(name) for name in ("instruments", "marks")}
    suspects: set[tuple[str, int]] = set()
    wanted = {topic.name: len(log.committed(Partition(topic.name, 0))) for topic in INPUTS}
    while True:
        task = Task(
            stage,
            0,
            log,
            Settings(data_dir=path, batch=BatchSettings(messages_max=3)),
            shared,
            open_store=lambda _path: store,
            clock_ns=lambda: NOW_NS,
            suspects=suspects,
        )
        running = asyncio.create_task(task.run())
        while not running.done() and not (task.progress.state == "running" and done(store, wanted)):
            await asyncio.sleep(0)
        error = running.exception() if running.done() else None
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        if error is None:
            return
        if isinstance(error, Killed):
            assert isinstance(log.at_step, Killer)
            log.at_step.revive()
            store.crash(losses.pop() if losses else 0)
        elif not isinstance(error, Retriable):
            raise error


def done(store: MemoryStore, wanted: dict[str, int]) -> bool:
    positions = positions_of(store)
    return all(positions.get(topic, 0) == end for topic, end in wanted.items())


def row_of(store: MemoryStore, table: str, key: str) -> Any:
    declaration = next(of for of in TABLES if of.name == table)
    assert isinstance(declaration, Changelogged)
    return declaration.codec.decode(store.rows()[row_key(table, key.encode())])


def read(log: MemoryLog, topic: Topic) -> list[Any]:
    return [topic.schema.decode(r.value) for r in log.committed(Partition(topic.name, 0)) if r.value is not None]


async def history(kills: Iterable[int], losses: list[int], desk: Any, path: Path) -> tuple[MemoryLog, MemoryStore]:
    partitions = {topic.name: topic.partitions for topic in (*INPUTS, *OUTPUTS, RISK_GATE_CHANGELOG)}
    log = MemoryLog(partitions | {topic.dead_letters: topic.partitions for topic in INPUTS})
    store = MemoryStore()
    log.at_step = Killer(kills)
    for topic in (RISK_COMMANDS, ORDERS_INTENTS, ORDERS_EXECUTIONS):
        feed(log, topic)
        await run_to_end(log, store, desk, path, losses)
    return log, store


@given(kills=st.sets(st.integers(0, 300), max_size=8), losses=st.lists(st.integers(0, 3), max_size=8))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_gate_killed_anywhere_then_the_log_is_that_of_one_run_and_rows_equal_its_fold(
    tmp_path_factory: pytest.TempPathFactory, new_desk: Any, kills: set[int], losses: list[int]
) -> None:
    path = tmp_path_factory.getbasetemp()
    log, store = asyncio.run(history(kills, losses, new_desk(), path))
    undisturbed, _ = asyncio.run(history((), [], new_desk(), path))
    for topic in (RISK_DECISIONS, RISK_LEDGER, RISK_BREAKS):
        assert read(log, topic) == read(undisturbed, topic)
    dead = {topic.name: len(log.committed(Partition(topic.dead_letters, 0))) for topic in INPUTS}
    assert dead == {topic.name: int(topic is ORDERS_INTENTS) for topic in INPUTS}
    assert [opened.break_id for opened in read(log, RISK_BREAKS)] == ["0-2"]
    for account_id, balances in fold(read(log, RISK_LEDGER)).items():
        account = row_of(store, "accounts", account_id)
        folded = (balances.seq, balances.cash_e4, balances.reserved_cash_e4)
        assert (account.seq, account.cash_e4, account.reserved_cash_e4) == folded
        position = row_of(store, "positions", f"{account_id}/ACME")
        assert balances.positions() == {"ACME": (position.qty, position.reserved_qty)}


async def test_undisturbed_run_trades_repeats_and_refuses(new_desk: Any, tmp_path: Path) -> None:
    """Shows that the runs compared above do trade, repeat and refuse."""
    log, _ = await history((), [], new_desk(), tmp_path)
    decisions = [answer for answer in read(log, RISK_DECISIONS) if isinstance(answer, Decision)]
    assert [decision.intent_offset for decision in decisions] == list(range(14))
    verdicts = [(decision.accepted, decision.repeat, decision.conflict) for decision in decisions]
    assert verdicts.count((True, False, None)) > 6
    assert verdicts[-2:] == [(True, True, None), (False, False, "qty")]
    kinds = [entry.kind for entry in read(log, RISK_LEDGER)]
    assert (kinds.count(EntryKind.POST), kinds.count(EntryKind.VOID)) == (1, 1)


@pytest.mark.parametrize("batched", [False, True])
async def test_gate_when_the_topic_of_decisions_takes_too_little_then_orders_are_set_aside_and_no_money_is_reserved(
    tmp_path: Path, new_desk: Any, batched: bool
) -> None:
    partitions = {topic.name: topic.partitions for topic in (*INPUTS, *OUTPUTS, RISK_GATE_CHANGELOG)}
    log = MemoryLog(partitions | {topic.dead_letters: topic.partitions for topic in INPUTS})
    store, desk = MemoryStore(), new_desk()
    feed(log, RISK_COMMANDS)
    await run_to_end(log, store, desk, tmp_path, [], batched)
    log.takes_bytes[RISK_DECISIONS.name] = 200
    feed(log, ORDERS_INTENTS)
    await run_to_end(log, store, desk, tmp_path, [], batched)
    intents = log.committed(Partition(ORDERS_INTENTS.name, 0))
    dead = log.committed(Partition(ORDERS_INTENTS.dead_letters, 0))
    assert [letter.value for letter in dead] == [each.value for each in intents]
    for account_id, balances in fold(read(log, RISK_LEDGER)).items():
        account = row_of(store, "accounts", account_id)
        assert (account.seq, account.cash_e4, account.reserved_cash_e4) == (balances.seq, balances.cash_e4, 0)
    del log.takes_bytes[RISK_DECISIONS.name]
    feed(log, ORDERS_INTENTS)
    await run_to_end(log, store, desk, tmp_path, [], batched)
    decided = [answer for answer in read(log, RISK_DECISIONS) if isinstance(answer, Decision)]
    assert len(decided) == len(intents) - 1, "all but the poison, once the topic takes them"
