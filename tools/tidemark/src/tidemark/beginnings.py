"""How a stage's partition begins anew where its changelog lost rows and no store has them.

The gate begins with the rows that it had, made again from what it has said (``risk.rebuild``), or not at all. Another
stage begins without rows. Its inputs are read from where the changelog still says it was, else from their ends, so that
nothing is handled twice. Either way the rows are written in one transaction with the record of it, and the register
says from which offset on the changelog has everything, so that what is left of the old rows stands in nobody's way.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from common.contracts.topics import (
    ORDERS_EXECUTIONS,
    REF_INSTRUMENTS,
    RISK_BREAKS,
    RISK_COMMANDS,
    RISK_DECISIONS,
    RISK_LEDGER,
    RUNTIME_OPERATIONS,
    STAGES,
    Topic,
)
from orders import stages as lifecycle
from orders.venue import stage as venue
from risk import stages as gate
from risk.rebuild import CannotRebuildError, History, rebuild
from risk.tables import TABLES
from signals import event_stage, trader_stage
from signals import stages as market
from streams.model.dead_letters import letter_of
from streams.model.errors import Refused
from streams.model.log import Log, Partition
from streams.model.message import Message
from streams.model.tables import Changelogged, Global
from streams.opening.beginning import beginning
from streams.opening.claims import is_ownership
from streams.opening.layout import Kept
from streams.process.settings import Settings
from streams.state.framed_reader import reader_of
from streams.state.globals import GlobalView
from streams.state.overlay import TaskTables
from streams.state.store import LAYOUT_KEY, POSITION_PREFIX, RocksStore, read_store

from tidemark.console import CommandError
from tidemark.operations import carry_out
from tidemark.row_layouts import STAGES as WITH_ROWS
from tidemark.stages import POLL_MS, Fold, StageName, fold

GATE: Final = "risk.gate"
INPUTS: Final[Mapping[str, Sequence[Topic]]] = {
    GATE: gate.INPUTS,
    "orders.lifecycle": lifecycle.INPUTS,
    "orders.venue": venue.INPUTS,
    "signals.events": event_stage.INPUTS,
    "signals.market": market.INPUTS,
    "signals.traders": trader_stage.INPUTS,
}
SAID: Final = (RISK_LEDGER, RISK_DECISIONS, RISK_BREAKS, RISK_COMMANDS, ORDERS_EXECUTIONS)
"""Topics that the gate's rows are made from again."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """Beginning of a partition: changelog rows of its tables, and where its inputs are read on."""

    stage: StageName
    number: int
    rows: Mapping[bytes, bytes]
    positions: Mapping[str, int]
    inputs: tuple[str, ...]
    gone: frozenset[bytes]
    """Keys of rows that the changelog still has, and that are none any more."""
    end: int
    """End of the changelog when this was decided."""
    meaning: tuple[str, ...]


async def plan_beginning(
    log: Log, stage: StageName, number: int, data_dir: Path | None, inputs: Mapping[str, Sequence[Topic]] = INPUTS
) -> Beginning:
    """Changes nothing. Raises CommandError where the partition need not, or must not, begin anew."""
    if stage.full not in inputs:
        raise CommandError(f"{stage.full} reads no topic: its position is the feed's own, and no command can know it")
    _check_no_store(stage, number, data_dir)
    left = await fold(log, Partition(stage.changelog.name, number))
    if stage.full == GATE:
        return await _rebuilt(log, stage, number, left)
    if left.rows and not left.begin:
        raise CommandError(f"{stage.changelog.name}/{number} has its beginning: its rows are restored from it")
    names = tuple(topic.name for topic in inputs[stage.full])
    positions, meaning = {}, [f"{stage.full}/{number} begins without rows: all that it knew is lost"]
    for name in names:
        source = Partition(name, number)
        begin, end = await log.low_watermark(source), await log.high_watermark(source)
        kept = left.positions.get(name)
        positions[name] = end if kept is None else min(max(kept, begin), end)
        if kept is None:
            meaning.append(f"{source} is read from its end, {end}: what was not handled before is never handled")
        else:
            meaning.append(f"{source} is read on from {positions[name]}, where it was")
    return Beginning(stage, number, {}, positions, names, _gone(left, {}), left.end, tuple(meaning))


def _check_no_store(stage: StageName, number: int, data_dir: Path | None) -> None:
    """A store may be the only whole copy. One that a refused worker has made is empty."""
    path = None if data_dir is None else stage.store_path(data_dir, number)
    if path is None or not path.is_dir():
        return
    try:
        has_rows = any(not key.startswith(b"@") or key.startswith(POSITION_PREFIX) for key, _ in read_store(path))
    except Exception as error:  # rocksdict raises bare Exception
        raise CommandError(f"{path} cannot be read ({error}); `tidemark stage reset` discards it") from error
    if has_rows:
        which = f"{stage.full} --partition {number}"
        raise CommandError(
            f"{path} has rows, and may be the only copy: see `tidemark stage verify {stage.full}`; "
            f"`tidemark stage reset {which}` discards it"
        )


def _gone(left: Fold, rows: Mapping[bytes, bytes]) -> frozenset[bytes]:
    return frozenset(key for key in left.rows if not is_ownership(key) and not key.startswith(b"@") and key not in rows)


async def _rebuilt(log: Log, stage: StageName, number: int, left: Fold) -> Beginning:
    try:
        history = await gathered_history(log, number)
        with tempfile.TemporaryDirectory(prefix="tidemark-rebuild-") as scratch:
            store = RocksStore(Path(scratch) / "store")
            try:
                tables = TaskTables(number, shared={"instruments": await _instruments(log)})
                for table in TABLES:
                    if isinstance(table, Changelogged):
                        tables.add(table, store)
                found = rebuild(history, tables)
            finally:
                store.close()
        changes = (row for overlay in tables.overlays.values() for row in overlay.changes())
        rows = {key: value for key, value in changes if value is not None}
    except CannotRebuildError as error:
        raise CommandError(
            f"the rows of {stage.full}/{number} cannot be made from what it has said, and nothing else would be safe: "
            f"{error}. Nothing was changed"
        ) from error
    meaning = [
        f"{stage.full}/{number} begins with {len(rows)} rows, made anew from {found.entries} ledger entries and the "
        f"answers to {found.orders} orders; each entry came out as the ledger has it, so nothing is lost",
        *(f"{topic}/{number} is read on from {offset}" for topic, offset in sorted(found.positions.items())),
    ]
    names = tuple(topic.name for topic in gate.INPUTS)
    return Beginning(stage, number, rows, found.positions, names, _gone(left, rows), left.end, tuple(meaning))


async def gathered_history(log: Log, number: int) -> History:
    """Raises CannotRebuildError where a topic has lost its beginning."""
    found = {topic: await _committed(log, topic, number) for topic in SAID}
    set_aside: dict[str, frozenset[int]] = {}
    for topic in gate.INPUTS:
        letters = await _committed(log, topic.dead_letter_topic, number, whole=False)
        set_aside[topic.name] = frozenset(said.offset for said in map(letter_of, letters) if said.stage == GATE)
    ledger, answers, breaks, commands, reports = (found[topic] for topic in SAID)
    aside = set_aside[RISK_COMMANDS.name]
    return History(answers, ledger, breaks, [m for m in commands if m.offset not in aside], reports, set_aside)


async def _committed(log: Log, topic: Topic, number: int, *, whole: bool = True) -> list[Message]:
    where = Partition(topic.name, number)
    begin, end = await log.low_watermark(where), await log.last_stable_offset(where)
    if begin and whole:
        raise CannotRebuildError(f"{where} begins at {begin}, and what was said before is gone")
    reader = reader_of(topic, await log.read(where, begin), Settings())
    found: list[Message] = []
    try:
        while reader.position < end:
            read = await reader.poll(POLL_MS)
            found += [Message(topic, number, r.offset, r.key, r.value, r.timestamp, r.headers) for r in read]
    finally:
        await reader.close()
    return found


async def _instruments(log: Log) -> GlobalView:
    view = GlobalView(Global("instruments", REF_INSTRUMENTS))
    for number in range(REF_INSTRUMENTS.partitions):
        for message in await _committed(log, REF_INSTRUMENTS, number, whole=False):
            view.put(message.key, message.value, number, message.offset)
    return view


async def begin_anew(
    log: Log,
    plan: Beginning,
    reason: str,
    operations: Topic = RUNTIME_OPERATIONS,
    register: Topic = STAGES,
) -> None:
    """Writes it; the stage must not run, and who wrote for it is shut out before this is planned.

    Raises CommandError where somebody has written to the changelog since.
    """
    stage, number = plan.stage, plan.number
    layout = dict(WITH_ROWS).get(stage.full)
    known = {LAYOUT_KEY: msgspec.json.encode(Kept(layout.LAYOUT_VERSION))} if layout else {}
    try:
        writes = await beginning(
            log,
            Partition(stage.changelog.name, number),
            (Partition(register.name, 0), f"{stage.full}.{number}".encode()),
            plan.end,
            rows=known | dict(plan.rows),
            gone=plan.gone,
            inputs=plan.inputs,
            positions=plan.positions,
            now_ms=time.time_ns() // 1_000_000,
        )
    except Refused as error:
        raise CommandError(f"{error}. Nothing was changed") from error
    details = {"rows": len(plan.rows), "positions": dict(plan.positions), "gone": len(plan.gone), "from": plan.end}
    await carry_out(log, stage.operation("begun anew", number, reason, **details), writes, topic=operations)
