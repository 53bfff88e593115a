"""Failpoints: inert unless named, deadly at the passing that was asked for, and documented."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from streams.process.failpoints import FAILPOINTS, SOURCE_FAILPOINTS, VARIABLE

DOCUMENT = Path(__file__).parents[2] / "docs" / "failpoints.md"
PROGRAM = """
from streams.process.failpoints import passing
for number in range(5):
    passing("commit.1.begun")
    passing("commit.2.applied")
    print(number, flush=True)
"""


def passed(armed: str | None) -> tuple[int, int]:
    """Exit code of a program that passes two failpoints five times, and how many rounds it came through."""
    env = {name: value for name, value in os.environ.items() if name != VARIABLE}
    env |= {VARIABLE: armed} if armed is not None else {}
    ended = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=False)
    return ended.returncode, len(ended.stdout.split())


@pytest.mark.parametrize(
    ("armed", "outcome"),
    [
        (None, (0, 5)),
        ("", (0, 5)),
        ("open.1.fenced", (0, 5)),
        ("commit.2.applied", (-signal.SIGKILL, 0)),
        ("commit.1.begun:3", (-signal.SIGKILL, 2)),
        ("commit.1.begun:6", (0, 5)),
        ("commit.9.never", (1, 0)),
    ],
)
def test_failpoint_when_armed_then_the_process_dies_at_that_passing(
    armed: str | None, outcome: tuple[int, int]
) -> None:
    assert passed(armed) == outcome


def test_document_when_read_then_it_lists_every_failpoint_in_order() -> None:
    rows = re.findall(r"^\| `([a-z0-9.-]+)` \|.*\| (yes)? ?\|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert tuple(name for name, _ in rows) == FAILPOINTS
    assert tuple(name for name, source in rows if source) == SOURCE_FAILPOINTS
