"""Answers of the past: a market as of a place in the log or a time, in a process of its own.

The process begins with the newest snapshot that is not behind the moment, else with the log, applies frames up to the
moment, answers, and ends. So a replay takes no time of the loop that the stage runs in; it stands back on the cores.
"""

import asyncio
import json
import os
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from common.contracts.ticks import Ticks
from common.contracts.topics import MD_TICKS
from common.contracts.windows import NS
from streams.edges.reader import CommittedReader
from streams.state.snapshots import SnapshotDirectory

from signals.domain.market import MarketState
from signals.installed import installed_measures
from signals.queries import answer, instrument_of
from signals.settings import SignalsSettings
from signals.stages import market_table

NICE: Final = 10
CLOSING_S: Final = 5.0
"""A process that has not ended by itself so long after its deadline is killed."""


class NoAnswer(Exception):
    """A moment that cannot be answered for. ``problem``: its kind in the table of problems."""

    def __init__(self, problem: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Moment:
    """A place or a time. ``at_offset``: the last record of ``md.ticks`` that is applied; ``at_ns``: event time, whose
    ticks are the last ones that are.
    """

    at_offset: int | None = None
    at_ns: int | None = None


@dataclass(frozen=True, slots=True)
class PastQuestion:
    """All that the process needs to know."""

    question: str
    symbol: str
    levels: int
    partition: int
    moment: Moment
    snapshots: Path
    layout: str


class Replays:
    """At most ``query.replays_max`` at a time."""

    def __init__(self, settings: SignalsSettings) -> None:
        self._settings = settings
        self._running = 0

    async def ask(self, question: PastQuestion) -> Mapping[str, Any]:
        """The answer's fields. Raises NoAnswer."""
        if self._running >= self._settings.query.replays_max:
            raise NoAnswer("overloaded", "other moments are being replayed")
        self._running += 1
        try:
            return await self._asked(question)
        finally:
            self._running -= 1

    async def _asked(self, question: PastQuestion) -> Mapping[str, Any]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "signals.replays"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        given = pickle.dumps((self._settings, question))
        try:
            async with asyncio.timeout(self._settings.query.replay_timeout_s + CLOSING_S):
                told, _ = await process.communicate(given)
        except TimeoutError:
            raise NoAnswer("replay-timeout", "the moment was not reached in time") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise RuntimeError(f"the replay ended with {process.returncode}")
        found: dict[str, Any] = json.loads(told)
        if "problem" in found:
            raise NoAnswer(found["problem"], found["detail"])
        return found


# --- in the process of its own ------------------------------------------------------------------------------------


def until(ticks: Ticks, clock_ns: int, at_ns: int) -> int:
    """How many ticks are applied before the clock, which is at ``clock_ns``, passes ``at_ns``."""
    clocks = np.maximum.accumulate(np.maximum(ticks["event_ns"], clock_ns))
    return int(np.searchsorted(clocks, at_ns, side="right"))


async def market_at(settings: SignalsSettings, question: PastQuestion) -> tuple[MarketState, int]:
    """The market as of the moment, and the offset of the first record that is not in it. Raises NoAnswer."""
    market, start = _snapshot(settings, question)
    place, moment = (MD_TICKS.name, question.partition), question.moment
    reader = CommittedReader(
        settings, [MD_TICKS], positions={place: start}, client_id="replay", only=frozenset({question.partition})
    )
    async with reader:
        end = (await reader.ends())[place]
        if reader.positions[place] > start:
            raise NoAnswer("moment-not-kept", f"the log begins at {reader.positions[place]}, and no snapshot is older")
        if moment.at_offset is not None:
            if moment.at_offset >= end:
                raise NoAnswer("moment-not-kept", f"the log ends at {end}")
            end = moment.at_offset + 1
        async for messages in reader.batches_until({place: end}):
            for message in messages:
                if message.offset >= end:
                    return market, end
                frame = message.body
                ticks = frame.ticks
                if moment.at_ns is not None:
                    ticks = ticks[: until(ticks, market.books.clock_ns, moment.at_ns)]
                market.apply(ticks, frame.ingest_ns, frame.feed, frame.session_ns)
                if len(ticks) < len(frame.ticks):
                    return market, message.offset
                start = message.offset + 1
    return market, start


def _snapshot(settings: SignalsSettings, question: PastQuestion) -> tuple[MarketState, int]:
    """The newest state that is saved and not behind the moment, and where to read on; else an empty market."""
    table = market_table(
        installed_measures(settings.measures),
        settings.snapshot_interval_s,
        round(settings.allowed_lateness_s * NS),
        settings.alert.limits,
        bounds=settings.feed.bounds,
        windows=settings.optional_windows,
    )
    moment, topic = question.moment, MD_TICKS.name

    def accepts(positions: Mapping[str, int]) -> bool:
        return topic in positions and (moment.at_offset is None or positions[topic] <= moment.at_offset + 1)

    if question.snapshots.is_dir():
        saved = SnapshotDirectory(question.snapshots, table, question.layout, owned=False)
        for found in saved.nearest(accepts):
            market: MarketState = found.state
            if moment.at_ns is None or market.books.clock_ns <= moment.at_ns:
                return market, found.positions[topic]
    return table.create(question.partition), 0


async def _answered(settings: SignalsSettings, question: PastQuestion) -> str:
    try:
        async with asyncio.timeout(settings.query.replay_timeout_s):
            market, next_offset = await market_at(settings, question)
    except NoAnswer as why:
        return json.dumps({"problem": why.problem, "detail": str(why)})
    except TimeoutError:
        return json.dumps({"problem": "replay-timeout", "detail": "the moment was not reached in time"})
    instrument_id = instrument_of(market, question.symbol)
    if instrument_id is None:
        return json.dumps({"problem": "symbol-unknown", "detail": "the symbol was not listed by then"})
    numbers = answer(question.question, market, instrument_id, question.levels, question.partition, next_offset)
    return numbers.model_dump_json()


def main() -> None:
    """Reads what is asked as its parent wrote it, and writes the answer as JSON; all else is said on stderr."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        os.nice(NICE)
        settings, question = pickle.load(sys.stdin.buffer)
        answers.write(asyncio.run(_answered(settings, question)))


if __name__ == "__main__":
    main()
