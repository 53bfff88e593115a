"""A broker of the bench's own, and processors run against it one after the other."""

import asyncio
import contextlib
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from common.contracts.topics import RAW_SCHEMA, Topic
from common.fleet_topics import create_topics
from parts import Jvm, LocalStack, Stack
from parts.processes import log_tail
from streams.kafka.kafka_log import KafkaLog
from streams.model.log import Partition
from streams.process.settings import KafkaSettings, Settings
from tidemark.process import Child

from bench.peers.programs import Program, Work, client

STOP_GRACE_S: Final = 15.0


class BenchError(RuntimeError):
    """A program of the bench failed. The message has the end of what it said."""


@asynccontextmanager
async def parts(*names: str) -> AsyncIterator[Stack]:
    """The named parts, fresh, tuned as in production."""
    stack = LocalStack(names, jvm=Jvm.THROUGHPUT)
    starting = asyncio.get_running_loop().run_in_executor(None, stack.start)
    try:
        yield await asyncio.shield(starting)
    finally:
        with contextlib.suppress(Exception):  # a start that failed has been told, or is being told
            await starting
        await asyncio.to_thread(stack.stop)


async def make_topics(bootstrap: str, *names: str, work: Work | None = None) -> None:
    """Creates topics of four partitions, and those of some work; returns when each has a leader that answers."""
    topics = [Topic(name, "account", RAW_SCHEMA, "bench") for name in names]
    if work is not None:
        topics += [Topic(name, "account", RAW_SCHEMA, "bench") for name in (work.decisions, work.dead_letters)]
        topics.append(Topic(work.changelog, "account", RAW_SCHEMA, "bench", cleanup="compact"))
    await create_topics(bootstrap, topics)
    await wait_for_leaders(bootstrap, topics)


async def wait_for_leaders(bootstrap: str, topics: Iterable[Topic]) -> None:
    """A topic is created before its partitions can be used, and a client that is told so waits longer than needed."""
    log = KafkaLog(Settings(kafka=KafkaSettings(bootstrap=bootstrap)), "bench")
    await log.start()
    try:
        for topic in topics:
            for number in range(topic.partitions):
                await log.high_watermark(Partition(topic.name, number))
    finally:
        await log.stop()


class Runner:
    """Starts programs; what they say goes to files in a directory that is thrown away in the end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._runs = 0

    @classmethod
    @contextlib.contextmanager
    def temporary(cls, keep: Path | None = None) -> Iterator["Runner"]:
        """A runner for the time of a bench; ``keep`` is a directory where everything stays."""
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            yield cls(keep.resolve())
            return
        with tempfile.TemporaryDirectory(prefix="tidemark-bench-", ignore_cleanup_errors=True) as directory:
            yield cls(Path(directory))

    def new_directory(self, name: str) -> Path:
        path = self.directory / name
        path.mkdir(parents=True)
        return path

    async def start(self, program: Program) -> "Running":
        """Starts it; it is gone when this process is gone."""
        self._runs += 1
        log = self.directory / f"run-{self._runs}.log"
        child = await Child.start(program.argv, env={**os.environ, **program.environment}, log=log)
        return Running(program, child, log)

    async def result(self, program: Program) -> dict[str, Any]:
        """Runs it to its end; the JSON line that it printed last. Raises BenchError."""
        async with self.running(program) as running:
            await running.child.wait()
            return running.result()

    @asynccontextmanager
    async def running(self, program: Program) -> AsyncIterator["Running"]:
        """The program, stopped in order in the end."""
        running = await self.start(program)
        try:
            yield running
        finally:
            await running.child.stop(STOP_GRACE_S)

    async def client(self, bootstrap: str, command: str, options: Mapping[str, str | int | float]) -> dict[str, Any]:
        """Runs the load to its end, see ``client.py``. Raises BenchError."""
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        program = Program(f"client {command}", client(command, "--bootstrap", bootstrap, *arguments))
        async with self.running(program) as running:
            await running.child.wait()
            return running.result(prints=command == "latency")


class Running:
    """A program that was started."""

    def __init__(self, program: Program, child: Child, log: Path) -> None:
        self.program = program
        self.child = child
        self.log = log

    def result(self, *, prints: bool = True) -> dict[str, Any]:
        """The last JSON that it printed. Raises BenchError where it failed or printed none."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        lines = [line for line in text.splitlines() if line.startswith("{")] if prints else ["{}"]
        if self.child.exit_code or not lines:
            raise BenchError(f"{self.program.label} ended with {self.child.exit_code}:\n{log_tail(self.log)}")
        result: dict[str, Any] = json.loads(lines[-1])
        return result

    async def kill(self) -> None:
        """SIGKILL, and waits until it is gone."""
        self.child.send(signal.SIGKILL)
        await self.child.wait()

    def check(self) -> None:
        """Raises BenchError where it has ended by itself."""
        if self.child.exit_code is not None:
            raise BenchError(f"{self.program.label} ended with {self.child.exit_code}:\n{log_tail(self.log)}")
