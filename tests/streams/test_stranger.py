"""A stranger's day: an empty project outside the repository, the wheel, the README, a broker. Nothing else of ours."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from parts import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
COUNTED_WITHIN_S: Final = 60.0
NEVER_IN_THE_WHEEL: Final = ("simulation", "spec", "tests", "test_", "conftest", "common")


def _uv() -> str:
    return os.environ.get("UV") or shutil.which("uv") or str(Path(".tidemark/uv/bin/uv").resolve())


@pytest.fixture(scope="module")
def wheel(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run([_uv(), "build", "--wheel", "--quiet", "--out-dir", out, library], check=True)
    (built,) = out.glob("*.whl")
    return built


def test_wheel_when_it_is_built_then_it_has_the_package_and_nothing_for_our_own_tests(wheel: Path) -> None:
    names = [Path(name).parts for name in zipfile.ZipFile(wheel).namelist()]
    assert ("streams", "testing", "driver.py") in names and ("streams", "py.typed") in names
    assert {parts[0] for parts in names} == {"streams", f"{wheel.name.rsplit('-', 3)[0]}.dist-info"}
    assert not [parts for parts in names for part in parts if part.startswith(NEVER_IN_THE_WHEEL)]


def test_stranger_when_he_follows_the_readme_then_his_words_are_counted_over_a_kill(
    wheel: Path, readme: Any, stack: Stack, tmp_path: Path
) -> None:
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    project.mkdir()
    (project / "wordcount.py").write_text(readme.program)
    (project / "test_wordcount.py").write_text(readme.test)
    python = project / ".venv/bin/python"
    subprocess.run([_uv(), "venv", "--quiet", "--python", sys.executable, project / ".venv"], check=True)
    wanted = [f"tidemark-streams[app] @ {wheel.as_uri()}", "pytest"]
    subprocess.run([_uv(), "pip", "install", "--quiet", "--python", python, *wanted], check=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TIDEMARK_KAFKA_BOOTSTRAP": stack.kafka_bootstrap}

    subprocess.run([python, "-m", "pytest", "-q"], cwd=project, env=environment, check=True)
    (topics,) = [line for line in readme.commands if line.endswith(" topics")]
    (worker,) = [line for line in readme.commands if line.endswith(" worker")]
    subprocess.run([python, *topics.split()[1:]], cwd=project, env=environment, check=True)
    first = {"to": "to 2", "be": "be 2", "or": "or 1", "not": "not 1"}
    for said, expected in (("to be or not to be", first), ("to do", first | {"to": "to 3", "do": "do 1"})):
        asyncio.run(_say(stack.kafka_bootstrap, said))
        running = subprocess.Popen([python, *worker.split()[1:]], cwd=project, env=environment)
        try:
            asyncio.run(_until_counted(stack.kafka_bootstrap, expected))
        finally:
            running.kill()
            running.wait()


async def _say(bootstrap: str, line: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        await producer.send_and_wait("lines", line.encode())
    finally:
        await producer.stop()


async def _until_counted(bootstrap: str, expected: dict[str, str]) -> None:
    consumer = AIOKafkaConsumer(
        "counts", bootstrap_servers=bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await consumer.start()
    counts: dict[str, str] = {}
    try:
        until_s = time.monotonic() + COUNTED_WITHIN_S
        while counts != expected:
            assert time.monotonic() < until_s, f"counted {counts}"
            for records in (await consumer.getmany(timeout_ms=500)).values():
                counts |= {record.key.decode(): record.value.decode() for record in records}
    finally:
        await consumer.stop()
