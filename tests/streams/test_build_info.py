"""Every process says which release it is: on its health pages, in its metrics, in each line of its log."""

import json
import platform
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from streams.process.build_info import UNKNOWN, version_of
from streams.service.operations import Health, operations_router

ROOT = Path(__file__).parents[2]
LOGS = """
from streams.process.logs import configure_logs, get_logger
configure_logs("risk", "INFO")
get_logger("x").info("began", feed="file")
get_logger("x").info("peer_seen", version="of the peer")
"""


def declared(member: str) -> str:
    """The version in a package's own project file."""
    version: str = tomllib.loads((ROOT / member / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    return version


@pytest.mark.parametrize("service", ["ingest", "signals", "risk", "orders", "push", "auditor"])
def test_version_is_that_of_the_service_s_own_package(service: str) -> None:
    assert version_of(service) == declared(f"services/{service}")


def test_version_of_what_is_no_service_is_the_command_line_s(monkeypatch: pytest.MonkeyPatch) -> None:
    assert version_of("replay") == declared("tools/tidemark")
    monkeypatch.setattr("streams.process.build_info._COMMAND_LINE", "tidemark-nothing")
    assert version_of("replay") == UNKNOWN


async def test_pages_and_metrics_say_service_version_and_python() -> None:
    web, health = FastAPI(), Health("risk")
    web.include_router(operations_router(health))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(web), base_url="http://test") as http:
        for page in ("/health/live", "/health/ready"):
            said = (await http.get(page)).json()
            assert (said["service"], said["version"]) == ("risk", declared("services/risk"))
        metrics = (await http.get("/metrics")).text
    labels = f'python="{platform.python_version()}",service="risk",version="{declared("services/risk")}"'
    assert f"tidemark_build_info{{{labels}}} 1.0" in metrics


def test_lines_of_the_log_say_service_and_version_and_never_overrule_what_an_event_says() -> None:
    written = subprocess.run([sys.executable, "-c", LOGS], check=True, capture_output=True, text=True).stderr
    began, seen = map(json.loads, written.splitlines())
    assert (began["service"], began["version"], began["feed"]) == ("risk", declared("services/risk"), "file")
    assert seen["version"] == "of the peer"
