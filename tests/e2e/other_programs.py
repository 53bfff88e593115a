"""Carries out what the guide "Read the log with your own programs" says, with Flink and Kafka Connect themselves."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from parts.java import find_java
from parts.kafka_jars import jars_of
from parts.ports import free_port

from bench.peers.jvm import java_program

GUIDE = Path(__file__).parents[2] / "docs" / "read-the-log.md"
CONNECT_JARS = Path(__file__).with_name("connect_jars.lock")
WITHIN_S = 180
STOPS_WITHIN_S = 30
Rows = Sequence[Sequence[str]]


def blocks(opening: str) -> list[str]:
    """Contents of the fenced blocks that begin like this, in their order."""
    fence = rf"^```{re.escape(opening)}\n(.*?)^```$"
    return re.findall(fence, GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def filled(text: str, values: Mapping[str, object]) -> str:
    """The text with ``${name}`` replaced by the values."""
    return re.sub(r"\$\{(\w+)\}", lambda found: str(values[found[1]]), text)


def flink_answers(directory: Path, bootstrap: str, registry: str) -> list[Rows]:
    """Rows of each SELECT of the guide, as text. Raises AssertionError with what Flink said where it failed."""
    file = directory / "guide.sql"
    statements = "\n".join(blocks("sql"))
    file.write_text(filled(statements, {"bootstrap": bootstrap, "registry": registry}), "utf-8")
    program = java_program("FlinkSql", "flink_sql_jars", "Flink SQL 2.3.0")
    ran = subprocess.run([*program, str(file)], capture_output=True, text=True, check=False, timeout=WITHIN_S)
    assert ran.returncode == 0, ran.stderr[-4_000:]
    parts = re.split(r"^ANSWER \d+\n", ran.stdout, flags=re.MULTILINE)
    return [[line.split("\t") for line in part.splitlines()] for part in parts[1:]]


@contextmanager
def connect_worker(directory: Path, bootstrap: str, registry: str) -> Iterator[Path]:
    """A standalone worker of the guide while the block runs; gives the file that its sink writes."""
    at = urlsplit(registry)
    values = {
        "bootstrap": bootstrap,
        "port": free_port(),
        "directory": directory,
        "apicurio": f"{at.scheme}://{at.netloc}",
    }
    for name in ("worker", "decisions"):
        [block] = blocks(f'properties title="{name}.properties"')
        (directory / f"{name}.properties").write_text(filled(block, values), "utf-8")
    jars = jars_of(CONNECT_JARS, "connect-jars", "Kafka Connect 4.3.0")
    command = [
        str(find_java()),
        "-Xmx512m",
        "-cp",
        f"{jars}{os.sep}*",
        "org.apache.kafka.connect.cli.ConnectStandalone",
    ]
    with (directory / "connect.log").open("wb") as log:
        worker = subprocess.Popen([*command, "worker.properties", "decisions.properties"], cwd=directory, stderr=log)
    try:
        yield directory / "decisions.txt"
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(STOPS_WITHIN_S)
