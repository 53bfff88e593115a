"""Prometheus as a process: scrapes what a test runs, evaluates the real rules, and says which alerts ring."""

import asyncio
import shutil
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

import httpx
import yaml

from parts.errors import PartsError
from parts.native import HOST, NativePart

INTERVAL: Final = "2s"
"""Interval of scrapes and evaluations; a rule's own durations stay as they are."""
POLL_S: Final = 0.2


def find_prometheus() -> Path:
    """The program on the PATH. Raises PartsError: no package index has it, but every Linux distribution does."""
    if found := shutil.which("prometheus"):
        return Path(found)
    raise PartsError("no prometheus on the PATH: install the distribution's package `prometheus`")


class Prometheus(NativePart):
    """``targets``: service → host:port of its metrics page. ``rules``: the file with the alerts."""

    name = "prometheus"

    def __init__(self, directory: Path, targets: Mapping[str, str], rules: Path) -> None:
        super().__init__(directory)
        self._targets = targets
        self._rules = rules

    def prepare(self) -> None:
        config = {
            "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL},
            "rule_files": [str(self._rules.resolve())],
            "scrape_configs": [
                {
                    "job_name": "tidemark",
                    "static_configs": [
                        {"targets": [target], "labels": {"service": service}}
                        for service, target in self._targets.items()
                    ],
                }
            ],
        }
        (self.directory / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")

    def command(self) -> list[str]:
        options = {
            "config.file": self.directory / "prometheus.yml",
            "storage.tsdb.path": self.directory / "data",
            "web.listen-address": f"{HOST}:{self.port}",
        }
        return [str(find_prometheus()), *(f"--{name}={value}" for name, value in options.items())]

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.address}/-/ready", timeout=1).status_code == httpx.codes.OK
        except httpx.TransportError as error:
            raise OSError(str(error)) from error

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"


class Alerts:
    """Which alerts of a Prometheus ring."""

    def __init__(self, address: str) -> None:
        self._http = httpx.AsyncClient(base_url=address, timeout=5)

    async def close(self) -> None:
        await self._http.aclose()

    async def scraped(self, series: str, within_s: float = 30.0) -> None:
        """Until Prometheus has this series: what grows later is a growth."""
        began = time.monotonic()
        while not (await self._http.get("/api/v1/query", params={"query": series})).json()["data"]["result"]:
            if time.monotonic() - began > within_s:
                raise AssertionError(f"{series} was not scraped within {within_s} s")
            await asyncio.sleep(POLL_S)

    async def ringing(self) -> dict[str, list[Mapping[str, str]]]:
        """Alert → labels of each instance that fires."""
        answer = (await self._http.get("/api/v1/alerts")).raise_for_status()
        found: dict[str, list[Mapping[str, str]]] = {}
        for alert in answer.json()["data"]["alerts"]:
            if alert["state"] == "firing":
                found.setdefault(alert["labels"]["alertname"], []).append(alert["labels"])
        return found

    async def fires(self, name: str, within_s: float = 60.0, **labels: str) -> None:
        """Until the alert rings with these labels. Raises AssertionError, with what rings instead."""
        began = time.monotonic()
        while not any(labels.items() <= one.items() for one in (await self.ringing()).get(name, [])):
            if time.monotonic() - began > within_s:
                raise AssertionError(
                    f"{name} {labels} did not ring within {within_s} s; ringing: {await self.ringing()}"
                )
            await asyncio.sleep(POLL_S)

    async def ends(self, name: str, within_s: float = 120.0) -> None:
        """Until the alert does not ring any more."""
        await self.quiet({name}, within_s)

    async def quiet(self, names: Collection[str] | None = None, within_s: float = 120.0) -> None:
        """Until none of these rings, or none at all."""
        began = time.monotonic()
        while loud := {name for name in await self.ringing() if names is None or name in names}:
            if time.monotonic() - began > within_s:
                raise AssertionError(f"{loud} still ring after {within_s} s")
            await asyncio.sleep(POLL_S)
