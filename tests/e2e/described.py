"""schemathesis against a running fleet: whatever it thinks of, the API does what its description says.

It makes requests that fit the description and ones that do not, follows ids from answer to request, and checks status,
media type, headers and body of what comes back; that no request is answered without the credential that it asks for,
where one is asked for, too.
"""

import asyncio
import os
import sys
from pathlib import Path

from tidemark.deployment import Deployment

HERE = Path(__file__).parent


async def check(deployment: Deployment, directory: Path, examples: int, seed: int, credential: str = "") -> None:
    """Raises AssertionError with schemathesis's report. ``credential`` goes with each request; empty: none."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(HERE / "schemathesis.toml")]
    command += ["run", f"{deployment.operations_url('orders')}/openapi.json", "--url", deployment.url("orders")]
    command += ["--checks", "all", "--no-color", "--max-examples", str(examples), "--seed", str(seed)]
    command += ["--continue-on-failure"]
    if credential:
        command += ["--header", f"Authorization: Bearer {credential}"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "api_hooks", "PYTHONPATH": str(HERE)}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=directory, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    report, _ = await process.communicate()
    assert process.returncode == 0, report.decode()[-8_000:]
