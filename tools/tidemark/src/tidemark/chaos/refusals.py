"""Refusals in a storm: who must refuse does, says why, writes nothing meanwhile, and goes on by the hand it names."""

import asyncio
import re
import shlex
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from common.contracts.topics import Topic
from streams.model.log import Log, Partition
from streams.opening.claims import is_ownership

from tidemark.chaos.scene import Scene
from tidemark.metrics import scrape, total
from tidemark.stages import StageName

REFUSED_WITHIN_S: Final = 90.0
"""The worker may have to start before that, on a machine whose cores a whole fleet shares."""
HELD_S: Final = 3.0
"""Seconds for which it must go on refusing and write nothing."""
LOOKS_AGAIN_S: Final = 8.0
"""Now and then it opens anew, to see whether it has been healed; then it says for a moment that it does."""
LOOK_S: Final = 0.2
READ_MS: Final = 100
COMMAND: Final = re.compile(r"`tidemark ([^`]+)`")
COMMAND_WITHIN_S: Final = 40.0
"""The group knows workers that have stopped until their sessions are over, and a position is not moved before that."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Partitions of a stage that a worker serves and must refuse, and what their reason must name."""

    worker: str
    stage: StageName
    numbers: frozenset[int]
    names: tuple[str, ...]
    outputs: tuple[Topic, ...] = ()
    """Topics to which, on these partitions, nothing may be written, beside the changelog."""

    def refused(self, report: Mapping[str, Any]) -> dict[int, str]:
        """Partition → why, of those that refuse for the reason that is expected. ``report``: the ready page."""
        try:
            pages = report["checks"][f"stage {self.stage.full.partition('.')[2]}"]["detail"]["partitions"]
        except (KeyError, TypeError):  # not up yet, or its topics are looked at
            return {}
        return {
            number: page["reason"]
            for number in self.numbers
            if (page := pages.get(str(number), {})).get("state") == "refused"
            and all(name in page["reason"] for name in self.names)
        }

    def watched(self) -> list[Partition]:
        """Partitions to which nothing may be written while the stage refuses."""
        topics = (self.stage.changelog, *self.outputs)
        return [Partition(topic.name, number) for topic in topics for number in sorted(self.numbers)]


@dataclass(frozen=True, slots=True)
class Seen:
    """The outcome. ``trouble`` is empty where the stage has refused as it must."""

    reasons: Mapping[int, str]
    trouble: str = ""


async def must_refuse(scene: Scene, log: Log, expected: Expected) -> Seen:
    """Waits until all of it refuses, and then looks on for a while."""
    reasons: dict[int, str] = {}

    async def refuses() -> bool:
        nonlocal reasons
        reasons = expected.refused(await scene.ready_page(expected.worker))
        return len(reasons) == len(expected.numbers)

    where = f"{expected.stage.full} {sorted(expected.numbers)}"
    if not await _until(refuses, REFUSED_WITHIN_S):
        return Seen(
            reasons, f"{where} should have refused, naming {', '.join(expected.names)}: {reasons or 'it did not'}"
        )
    before = {place: await log.high_watermark(place) for place in expected.watched()}
    await asyncio.sleep(HELD_S)
    if not await _until(refuses, LOOKS_AGAIN_S):
        return Seen(reasons, f"{where} refused, and by itself did so no more")
    if len(reasons) > (counted := await _counted(scene, expected)):
        return Seen(reasons, f"{where}: tidemark_stage_refused counts {counted} of {len(reasons)}")
    written = [str(place) for place, end in before.items() if await rows_since(log, place, end)]
    return Seen(reasons, f"{where} refused, and {', '.join(written)} grew" if written else "")


async def _counted(scene: Scene, expected: Expected) -> int:
    app, _, name = expected.stage.full.partition(".")
    pages = await scrape({expected.worker: scene.fleet.spec(expected.worker).operations_url})
    samples = pages[expected.worker]
    labels = [{"app": app, "stage": name, "partition": str(number)} for number in expected.numbers]
    return sum(int(total(samples, "tidemark_stage_refused", **each)) for each in labels)


async def rows_since(log: Log, place: Partition, start: int) -> int:
    """Committed records from an offset on; of a changelog, those that are not about who owns it."""
    count, end = 0, await log.last_stable_offset(place)
    reader = await log.read(place, start)
    try:
        while reader.position < end:
            count += sum(not is_ownership(record.key or b"") for record in await reader.poll(READ_MS))
    finally:
        await reader.close()
    return count


def commands(reasons: Collection[str]) -> list[list[str]]:
    """The commands that refusals name, as their arguments; each once."""
    found = [match.group(1) for reason in reasons for match in COMMAND.finditer(reason)]
    return [shlex.split(command) for command in dict.fromkeys(found)]


async def carry_out(scene: Scene, reasons: Collection[str]) -> str:
    """Runs the commands that the refusals name, with ``--yes``; says what went wrong."""
    asked = commands(reasons)
    if not asked:
        return f"no refusal names a command: {list(reasons)}"
    given = ["--yes", "--reason", "storm", "--bootstrap", scene.deployment.addresses.kafka_bootstrap]
    for arguments in asked:
        said = ""

        async def done(arguments: list[str] = arguments) -> bool:
            nonlocal said
            code, said = await _tidemark(*arguments, *given)
            return code == 0

        if not await _until(done, COMMAND_WITHIN_S):
            return f"`tidemark {shlex.join(arguments)}` did not help: {said.strip()[-300:]}"
    return ""


async def _tidemark(*arguments: str) -> tuple[int, str]:
    """The command itself, as an operator would call it: exit code, and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "tidemark.main", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode or 0, said.decode(errors="replace")


async def _until(condition: Callable[[], Any], timeout_s: float) -> bool:
    """Asks at least once."""
    deadline = time.monotonic() + timeout_s
    while not await condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(LOOK_S)
    return True
