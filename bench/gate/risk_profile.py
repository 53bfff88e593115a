"""CPU time of the risk service, step by step: py-spy's samples of its thread, times what the kernel charged.

py-spy is fetched by uv at first use. It looks at the process from outside, which slows it a little, so a run with
it gives the shares and a run without it the figures. What RocksDB and others do in threads of their own is listed by
the name of the thread.
"""

import asyncio
import contextlib
import os
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tidemark.releases.building import find_uv

from bench.peers.runner import BenchError

ROOT: Final = Path(__file__).parents[2]
PY_SPY: Final = "py-spy==0.4.3"
RATE_HZ: Final = 500
REST: Final = "event loop and rest"
STEPS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("metrics page, web server", ("prometheus_client/", "uvicorn/", "fastapi/", "starlette/")),
    ("traces", ("opentelemetry/", "streams/process/telemetry.py")),
    ("views to Redis", ("streams/views/publisher.py", "redis/")),
    (
        "receive: fetch, CRC, records, messages",
        ("streams/kafka/fetch.py", "streams/stage/inbox.py", "streams/kafka/read_requests.py"),
    ),
    ("decode intents", ("streams/model/message.py", "pydantic/", "decode_intent (risk/wire.py")),
    ("checks", ("domain/gate.py",)),
    ("movement", ("domain/ledger.py",)),
    ("hash chain", ("domain/chain.py",)),
    ("market", ("risk/market.py",)),
    ("decision and entry as JSON", ("risk/wire.py", "_decision (risk/stages.py")),
    ("account view", ("account_view (risk/stages.py", "account_data (risk/stages.py")),
    ("row keys, sweep, positions", ("risk/tables.py",)),
    ("tables: rows to bytes", ("changes (streams/state/overlay.py",)),
    ("tables: reads, RocksDB's among them", ("streams/state/overlay.py",)),
    ("handler, rest", ("risk/stages.py",)),
    ("RocksDB write", ("streams/state/store.py",)),
    ("record batches", ("streams/kafka/record_batches.py",)),
    ("outputs collected", ("streams/commit/outbox.py", "apply (streams/commit/transaction.py")),
    (
        "commit, rest",
        (
            "streams/commit/transaction.py",
            "streams/stage/task.py",
            "streams/commit/lane.py",
            "streams/process/metrics.py",
        ),
    ),
    (
        "requests to Kafka",
        (
            "streams/kafka/producer.py",
            "streams/kafka/kafka_log.py",
            "streams/kafka/transaction_requests.py",
            "aiokafka/",
        ),
    ),
)
"""Step → what a frame of it looks like. A sample belongs to the innermost frame that belongs to a step."""


def step_of(stack: str) -> str:
    """The step of one collapsed stack (frames from the outermost, joined by ``;``)."""
    for frame in reversed(stack.split(";")):
        for step, marks in STEPS:
            if any(mark in frame for mark in marks):
                return step
    return REST


def shares(collapsed: Iterable[str]) -> dict[str, float]:
    """Step → share of the samples of the thread that runs the event loop."""
    samples: Counter[str] = Counter()
    for line in collapsed:
        stack, _, count = line.rpartition(" ")
        if "(risk/__main__.py" in stack:
            samples[step_of(stack)] += int(count)
    total = sum(samples.values())
    return {step: count / total for step, count in samples.most_common()} if total else {}


def innermost(collapsed: Iterable[str]) -> Counter[str]:
    """Samples by the function that was at work."""
    samples: Counter[str] = Counter()
    for line in collapsed:
        stack, _, count = line.rpartition(" ")
        samples[stack.rpartition(";")[2]] += int(count)
    return samples


def thread_seconds(pid: int) -> dict[str, float]:
    """Name → CPU seconds of the threads of that name (proc(5)); the main thread is ``main``."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            head, _, tail = (task / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
            fields = tail.split()
            name = "main" if task.name == str(pid) else head.partition("(")[2]
            seconds[name] += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return dict(seconds)


class Recording:
    """Samples between the beginning and the end of the recording."""

    def __init__(self, pid: int, path: Path) -> None:
        self._pid = pid
        self._path = path
        self._began = thread_seconds(pid)
        self._seconds: Mapping[str, float] = {}

    def stop_clock(self) -> None:
        """While the process still lives."""
        ended = thread_seconds(self._pid)
        self._seconds = {name: used - self._began.get(name, 0.0) for name, used in ended.items()}

    def table(self, intents: int) -> list[dict[str, Any]]:
        """Microseconds of CPU per intent: the main thread's by step, the other threads' by name."""
        main_us = self._seconds["main"] / intents * 1e6
        steps = shares(self._path.read_text(encoding="utf-8").splitlines())
        rows = [{"step": step, "µs per intent": round(share * main_us, 2)} for step, share in steps.items()]
        for name, used in sorted(self._seconds.items(), key=lambda item: -item[1]):
            if name != "main" and used / intents * 1e6 >= 0.01:
                rows.append({"step": f"thread {name}", "µs per intent": round(used / intents * 1e6, 2)})
        total_us = sum(self._seconds.values()) / intents * 1e6
        return [*rows, {"step": "together", "µs per intent": round(total_us, 2)}]


@asynccontextmanager
async def recording(pid: int, path: Path) -> AsyncIterator[Recording]:
    """Samples the process for as long as the block runs. Raises BenchError where py-spy cannot."""
    options = (
        "record",
        "--pid",
        str(pid),
        "--rate",
        str(RATE_HZ),
        "--format",
        "raw",
        "--output",
        str(path),
        "--threads",
    )
    spy = await asyncio.create_subprocess_exec(
        *(find_uv(ROOT), "tool", "run", "--from", PY_SPY, "py-spy", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        made = Recording(pid, path)
        yield made
        made.stop_clock()
    finally:
        if spy.returncode is None:
            spy.send_signal(2)
        said, _ = await spy.communicate()
    if spy.returncode:
        raise BenchError(f"py-spy ended with {spy.returncode}:\n{said.decode(errors='replace')}")
