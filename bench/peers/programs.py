"""The processors side by side, as commands: Tidemark's bare gate and the peers doing the same work."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from parts import PartsError
from parts.cache import cached, tell

from bench.peers.jvm import java_program

HERE: Final = Path(__file__).parent
BENCH: Final = HERE.parent
STREAMS: Final = "Kafka Streams 4.3.0"
FLINK: Final = "Flink 2.2.1"
QUIX: Final = "quixstreams==3.28.1"
FAUST: Final = ("faust-streaming==0.15.3", "rocksdict==0.3.29")
CLIENT: Final = "confluent-kafka==2.12.2"
NAMES: Final = ("tidemark", "ks", "flink", "quix", "faust")


@dataclass(frozen=True, slots=True)
class Work:
    """Task of a processor. ``messages`` 0: serve until it is stopped; ``name`` is new for every run."""

    bootstrap: str
    intents: str
    name: str
    state: Path
    messages: int = 0
    timeout_s: int = 300

    @property
    def decisions(self) -> str:
        return f"{self.name}.decisions"

    @property
    def changelog(self) -> str:
        """Changelog of Tidemark's stage; the other processors name and make theirs themselves."""
        return f"{self.name}.changelog"

    @property
    def dead_letters(self) -> str:
        """Dead-letter topic of Tidemark's stage, which has to exist before it starts."""
        return f"{self.intents}.dlq"


@dataclass(frozen=True, slots=True)
class Program:
    """A command with what is set for it; its standard output ends with one JSON line where it counts."""

    label: str
    argv: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)


def isolated(packages: tuple[str, ...], script: str) -> list[str]:
    """The command that runs a script of this directory with just these packages. Raises PartsError."""

    def make(directory: Path) -> None:
        uv = shutil.which("uv")
        if uv is None:
            raise PartsError("uv is not here to make the peer's environment with; install it (see the README)")
        tell(f"installing {', '.join(packages)} into an environment of its own")
        python = directory / "bin" / "python"
        for command in (
            ["venv", "--relocatable", "--allow-existing", "--python", sys.executable, str(directory)],
            ["pip", "install", "--python", str(python), *packages],
        ):
            done = subprocess.run([uv, "--quiet", *command], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise PartsError(f"{', '.join(packages)} cannot be installed by uv:\n{done.stderr[-2_000:]}")

    digest = hashlib.sha256(" ".join([sys.version, *packages]).encode()).hexdigest()[:12]
    environment = cached(f"peer-{Path(script).stem.replace('_', '-')}-{digest}", make)
    return [str(environment / "bin" / "python"), str(HERE / script)]


def client(command: str, *arguments: str) -> list[str]:
    """The load, see ``client.py``. Raises PartsError."""
    return [*isolated((CLIENT,), "client.py"), command, *arguments]


def _named(work: Work) -> dict[str, str]:
    return {
        "bootstrap": work.bootstrap, "intents": work.intents, "decisions": work.decisions, "group": work.name,
        "state": str(work.state), "messages": str(work.messages),
    }  # fmt: skip


def _options(pairs: Mapping[str, str]) -> list[str]:
    return [part for name, value in pairs.items() for part in (f"--{name}", value)]


def _java(pairs: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in pairs.items()]


def tidemark(work: Work, producers: str = "task") -> Program:
    """The stage runtime. ``producers``: one transactional producer per task, or one for the process."""
    pairs = {
        "bootstrap": work.bootstrap, "app": work.name, "intents": work.intents, "decisions": work.decisions,
        "changelog": work.changelog, "messages": str(work.messages), "data": str(work.state), "producers": producers,
    }  # fmt: skip
    argv = [sys.executable, str(BENCH / "gate" / "stage.py"), *_options(pairs)]
    return Program(f"Tidemark, a producer per {producers}", argv)


def streams(work: Work, commit_ms: int = 100, **properties: str) -> Program:
    """Kafka Streams. ``properties``: its own, with dots as underscores."""
    extra = {f"streams.{name.replace('_', '.')}": value for name, value in properties.items()}
    pairs = _named(work) | {"commit_ms": str(commit_ms), "threads": "2", "timeout_s": str(work.timeout_s)} | extra
    argv = [*java_program("StreamsGate", "streams_jars", STREAMS), *_java(pairs)]
    return Program(f"{STREAMS}, exactly_once_v2, commit {commit_ms} ms", argv)


def flink(work: Work, checkpoint_ms: int = 100) -> Program:
    """Flink's mini-cluster with RocksDB state."""
    own = {"checkpoint_ms": str(checkpoint_ms), "parallelism": "2", "timeout_s": str(work.timeout_s)}
    argv = [*java_program("FlinkGate", "flink_jars", FLINK), *_java(_named(work) | own)]
    return Program(f"{FLINK}, exactly once, RocksDB, checkpoint {checkpoint_ms} ms", argv)


def streams_bars(work: Work, symbols: int, commit_ms: int = 100) -> Program:
    """Kafka Streams' DSL, bars of a second. ``work.intents`` are ticks, ``work.decisions`` bars."""
    own = {"commit_ms": str(commit_ms), "threads": "2", "timeout_s": str(work.timeout_s), "symbols": str(symbols)}
    program = java_program("StreamsBars", "streams_jars", STREAMS, ("Bars", "StreamsGate"))
    return Program(f"{STREAMS}, exactly_once_v2, commit {commit_ms} ms", [*program, *_java(_named(work) | own)])


def flink_bars(work: Work, symbols: int, checkpoint_ms: int = 100) -> Program:
    """Flink, likewise, with its windows on the heap, where it is faster than with RocksDB."""
    own = {"checkpoint_ms": str(checkpoint_ms), "parallelism": "2", "timeout_s": str(work.timeout_s)}
    program = java_program("FlinkBars", "flink_jars", FLINK, ("Bars", "FlinkGate"))
    argv = [*program, *_java(_named(work) | own | {"symbols": str(symbols)})]
    return Program(f"{FLINK}, exactly once, heap, checkpoint {checkpoint_ms} ms", argv)


def tidemark_bars(work: Work, form: str) -> Program:
    """The stage runtime, likewise. ``form``: ``frames`` of ticks, or ``events``, an Avro record each."""
    pairs = {
        "bootstrap": work.bootstrap, "app": work.name, "ticks": work.intents, "bars": work.decisions,
        "changelog": work.changelog, "messages": str(work.messages), "data": str(work.state), "form": form,
    }  # fmt: skip
    said = {"frames": "frames of ticks", "events": "an Avro record an event"}[form]
    return Program(f"Tidemark, {said}", [sys.executable, "-m", "bench.signals.stage", *_options(pairs)])


def quix(work: Work, commit_s: float = 1.0) -> Program:
    """quix-streams."""
    pairs = _named(work) | {"commit-s": str(commit_s), "timeout-s": str(work.timeout_s)}
    argv = [*isolated((QUIX,), "quix_gate.py"), *_options(pairs)]
    return Program(f"{QUIX.replace('==', ' ')}, exactly-once, commit {commit_s:g} s", argv)


def faust(work: Work, commit_s: float = 0.1, instance: str = "") -> Program:
    """Stock faust-streaming."""
    pairs = _named(work) | {"commit-s": str(commit_s), "timeout-s": str(work.timeout_s)}
    if instance:
        pairs["instance"] = instance
    argv = [*isolated(FAUST, "faust_gate.py"), *_options(pairs)]
    return Program(f"{FAUST[0].replace('==', ' ')}, exactly_once, commit {commit_s:g} s", argv)
