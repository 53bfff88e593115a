"""Carries out the SQL of the guide "Read the log with your own programs" with Flink."""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.peers.jvm import java_program

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "read-the-log.md"
WITHIN_S = 180
Rows = Sequence[Sequence[str]]


def statements() -> str:
    """Every block of SQL in the guide, in its order."""
    return "\n".join(re.findall(r"^```sql\n(.*?)^```$", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL))


def answers(directory: Path, bootstrap: str, registry: str) -> list[Rows]:
    """Rows of each SELECT, as text. Raises AssertionError with what Flink said where it failed."""
    file = directory / "guide.sql"
    file.write_text(statements().replace("${bootstrap}", bootstrap).replace("${registry}", registry), "utf-8")
    program = java_program("FlinkSql", "flink_sql_jars", "Flink SQL 2.3.0")
    environment = os.environ | {"TMPDIR": str(directory)}
    ran = subprocess.run(
        [*program, str(file)], capture_output=True, text=True, check=False, timeout=WITHIN_S, env=environment
    )
    assert ran.returncode == 0, ran.stderr[-4_000:]
    parts = re.split(r"^ANSWER \d+\n", ran.stdout, flags=re.MULTILINE)
    return [[line.split("\t") for line in part.splitlines()] for part in parts[1:]]
