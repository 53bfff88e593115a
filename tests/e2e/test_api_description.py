"""schemathesis against the running fleet: whatever it thinks of, the API does what its description says.

It makes requests that fit the description and ones that do not, follows ids from answer to request, and checks status,
media type, headers and body of what comes back.
"""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from tidemark.deployment import Deployment

HERE = Path(__file__).parent
pytestmark = pytest.mark.asyncio(loop_scope="module")


async def check(deployment: Deployment, directory: Path, examples: int, seed: int) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(HERE / "schemathesis.toml")]
    command += ["run", f"{deployment.url('orders')}/openapi.json", "--checks", "all", "--no-color"]
    command += ["--max-examples", str(examples), "--seed", str(seed), "--continue-on-failure"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "api_hooks", "PYTHONPATH": str(HERE)}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=directory, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    report, _ = await process.communicate()
    assert process.returncode == 0, report.decode()[-8_000:]


@pytest.mark.timeout(240)
async def test_api_then_it_does_what_its_description_says(deployment: Deployment, tmp_path: Path) -> None:
    await check(deployment, tmp_path, examples=8, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("seed", [2, 3])
async def test_api_when_it_is_asked_more_then_it_still_does(deployment: Deployment, tmp_path: Path, seed: int) -> None:
    await check(deployment, tmp_path, examples=100, seed=seed)
