"""The JVM peers: jars pinned by hash from Maven Central, and our sources compiled by Eclipse's compiler.

A Java runtime is all that is needed: the machine's own from 17 on, else the one that the local stack fetches.
"""

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Final

from parts import PartsError
from parts.cache import cached
from parts.java import find_java
from parts.kafka_jars import jars_of

HERE: Final = Path(__file__).parent
SOURCES: Final = HERE / "java"
RELEASE: Final = "17"
HEAP: Final = "-Xmx2g"
OPENED: Final = tuple(f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in ("util", "lang", "time"))
"""Packages of the JDK that Flink's serializers reach into."""


def java_program(main: str, lock: str, what: str, also: tuple[str, ...] = ()) -> list[str]:
    """The command that runs ``main`` of our sources with the jars of a lock. Raises PartsError.

    ``lock`` is the stem of the lock's file name; ``what`` is how people call what is in it;
    ``also``: other sources of ours that ``main`` needs.
    """
    jars = jars_of(HERE / f"{lock}.lock", lock.replace("_", "-"), what)
    classes = _compiled(("Meter", *also, main), jars)
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"
    return [str(find_java()), HEAP, *OPENED, quiet, "-cp", f"{classes}{os.pathsep}{jars}/*", main]


def _compiled(names: tuple[str, ...], jars: Path) -> Path:
    sources = [SOURCES / f"{name}.java" for name in names]
    digest = hashlib.sha256(b"".join([jars.name.encode(), *(source.read_bytes() for source in sources)])).hexdigest()
    compiler = jars_of(HERE / "compiler_jars.lock", "compiler-jars", "Eclipse's Java compiler")

    def make(directory: Path) -> None:
        classpath = os.pathsep.join(str(jar) for jar in sorted(jars.glob("*.jar")))
        options = [
            "-source",
            RELEASE,
            "-target",
            RELEASE,
            "-nowarn",
            "-proc:none",
            "-cp",
            classpath,
            "-d",
            str(directory),
        ]
        command = [str(find_java()), "-jar", *map(str, compiler.glob("ecj-*.jar")), *options, *map(str, sources)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise PartsError(f"{', '.join(names)} do not compile:\n{done.stderr}")

    return cached(f"{names[-1].lower()}-{digest[:12]}", make)
