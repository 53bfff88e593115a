"""One auditor process: reads the log for ever, looks at the stores between, and says what it finds."""

import asyncio
import contextlib
import signal
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

from common.contracts.topics import STAGES
from fastapi import FastAPI
from streams.edges.reader import CommittedReader
from streams.kafka.broker_watch import is_broker_away
from streams.model.errors import Retriable
from streams.process.logs import get_logger
from streams.service.awaited_topics import AwaitedTopics
from streams.service.frame import Frame
from streams.service.operations import Health, operations_router
from streams.service.web import NO_REQUEST_SPANS

from auditor import metrics
from auditor.dead_letters import DeadLetterCount, watch_dead_letters
from auditor.domain.place import Positions
from auditor.fencing import Fencing
from auditor.settings import AuditorSettings
from auditor.truth import HELD_MESSAGES_MAX, TOPICS, LogTruth
from auditor.watch import Verdict, Watch

_log = get_logger(__name__)
CATCHING_UP_S: Final = 0.05
FIRST_CHARS_MAX: Final = 64


class Auditor:
    """The fold, the watch over the stores, and their loop."""

    def __init__(self, settings: AuditorSettings, scratch: Path) -> None:
        self._settings = settings
        self.truth = LogTruth(settings.audit.orders_max, settings.audit.executions_max)
        self.watch = Watch(settings, self.truth, scratch)
        self._goal: Positions | None = None
        self._reading = False
        self._room = asyncio.Event()
        self._errors_counted = 0
        self.topics = AwaitedTopics(settings, "auditor", lambda: TOPICS, STAGES)
        self.dead_letters = DeadLetterCount()
        self.fencing = Fencing(settings)

    @property
    def verdict(self) -> Verdict:
        """Verdict of the last completed look."""
        return self.watch.verdict

    async def close(self) -> None:
        await self.watch.close()

    async def run(self) -> None:
        """For ever. While the broker is away the stores are not judged; reading goes on where the fold stands."""
        await self.topics.there()
        watching = watch_dead_letters(self.dead_letters, self._settings, self._settings.audit.dead_letters_interval_s)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watching, name="auditor-dead-letters")
            tasks.create_task(self.fencing.follow(), name="auditor-fences")
            tasks.create_task(self._fold(), name="auditor-fold")

    async def _fold(self) -> None:
        backoff = self._settings.restart.backoff()
        while True:
            try:
                positions = self.truth.positions
                async with CommittedReader(
                    self._settings, TOPICS, from_beginning=True, positions=positions or None, client_id="auditor"
                ) as reader:
                    backoff.reset()
                    self._reading = True
                    await self._follow(reader)
            except (Retriable, OSError) as error:
                self._reading = False
                self.truth.drop_held()
                delay_s = backoff.next()
                _log.warning("log_away", error=str(error), retry_in_s=delay_s)
                await asyncio.sleep(delay_s)

    async def _follow(self, reader: CommittedReader) -> None:
        if self._goal is None:
            self.truth.begin(reader.positions)
            self._goal = await reader.ends()
        pump = asyncio.create_task(self._pump(reader), name="auditor-pump")
        try:
            while True:
                if pump.done():
                    pump.result()
                caught_up = self.is_caught_up
                await self._advance(reader, time.monotonic() - (self._settings.audit.hold_s if caught_up else 0.0))
                if caught_up:
                    self.truth.matched.knows_every_trade = True
                    await self.watch.look(partial(self.fencing.ends, reader))
                    await self.fencing.look(self.truth)
                await asyncio.wait({pump}, timeout=self._settings.audit.interval_s if caught_up else CATCHING_UP_S)
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)

    async def _pump(self, reader: CommittedReader) -> None:
        async for messages in reader.batches():
            self.truth.hold(messages, reader.positions, time.monotonic())
            if self.truth.waiting >= HELD_MESSAGES_MAX:
                self._room.clear()
                await self._room.wait()

    async def _advance(self, reader: CommittedReader, before_s: float) -> None:
        """Folds what has been held back for long enough. During a look the fold stands still."""
        truth = self.truth
        while (messages := truth.next_due(before_s)) is not None:
            metrics.RECORDS.inc(len(messages))
            await asyncio.sleep(0)  # answers of the broker must not wait for a whole backlog
        self._room.set()
        if not truth.waiting:
            truth.reach(reader.positions)
        metrics.SEQUENCE_ERRORS.inc(truth.sequence_errors - self._errors_counted)
        self._errors_counted = truth.sequence_errors

    @property
    def is_caught_up(self) -> bool:
        """Whether everything is folded that the log held when the process began."""
        goal, positions = self._goal, self.truth.positions
        return goal is not None and all(positions.get(place, 0) >= end for place, end in goal.items())

    def log_check(self) -> tuple[bool, Any]:
        """Ready once what the log held at the beginning is folded, and while it is read."""
        ready = self._reading and self.is_caught_up and not is_broker_away()
        done = sum(self.truth.positions.values())
        return ready, {"done": done, "of": sum((self._goal or {}).values()), "records": self.truth.records}

    def audit_check(self) -> tuple[bool, Any]:
        """Ready once every store was looked at. What was found does not make the auditor less ready."""
        verdict, truth = self.verdict, self.truth
        return verdict.looks > 0, {
            "divergent": verdict.total,
            "unreadable": len(verdict.unreadable),
            "breaks_open": verdict.breaks_open,
            "dead_letters": self.dead_letters.total,
            "fences": self.fencing.raised,
            "sequence_errors": truth.sequence_errors,
            "ledger_sum_e4": truth.accounts.ledger_sum_e4,
            "accounts": len(truth.accounts.accounts),
            "entries": truth.accounts.entries,
            "looked_ns": verdict.looked_ns,
            "first": (*verdict.texts, *verdict.unreadable.values(), "")[0][:FIRST_CHARS_MAX],
        }


class AuditorProcess:
    """The auditor with its pages for operators and its row in the health view."""

    def __init__(self, settings: AuditorSettings) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="tidemark-auditor-")
        self.auditor = Auditor(settings, Path(self._scratch.name))
        health = Health("auditor")
        health.add("topics", self.auditor.topics.ready)
        health.add("log", self.auditor.log_check)
        health.add("audit", self.auditor.audit_check)
        web = FastAPI(title="tidemark auditor", docs_url=None, redoc_url=None, telemetry=NO_REQUEST_SPANS)
        web.include_router(operations_router(health))
        self._frame = Frame("auditor", settings, health, web)

    async def serve(self) -> None:
        """Until cancelled. Raises OSError where the port is taken, Fatal where a topic ceases to exist."""
        await self._frame.start()
        try:
            await self.auditor.run()
        finally:
            await self._frame.stop()
            await self.auditor.close()
            self._scratch.cleanup()


async def run(settings: AuditorSettings) -> None:
    """Serves until SIGTERM or SIGINT; an error of ours ends the process, so that its supervisor starts a sound one."""
    serving = asyncio.create_task(AuditorProcess(settings).serve(), name="auditor")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving
