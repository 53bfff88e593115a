"""Builds what is handed out of a release: wheels of a package and of those it needs, a bill of materials, the image."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tidemark.releases.files import COMPOSE
from tidemark.releases.manifest import ReleaseError

ASSETS: Final[Mapping[str, tuple[str, str]]] = {
    "services/push": ("services/push/dashboard/dist", "src/push/static"),
}
"""Member of the workspace → what is built before its wheel, and where in the package it goes."""
REQUIREMENTS: Final = "requirements.txt"
OWN_UV: Final = ".tidemark/uv/bin"
"""Directory in which `make` puts uv on a machine that has none."""


def members(root: Path, package: str) -> tuple[str, ...]:
    """Folders of the package and of the packages of this repository that it needs, as the lock says."""
    lines = _run([*_export(root, package), "--no-hashes", "--no-annotate"], root).splitlines()
    return tuple(line.removeprefix("-e ").removeprefix("./") for line in lines if line.startswith("-e "))


def build_wheels(root: Path, package: str, into: Path) -> list[Path]:
    """Wheels of a package and of what it needs of this repository, and the locked versions of everything else.

    To install: ``pip install --requirement requirements.txt && pip install --no-deps *.whl``. Raises ReleaseError.
    """
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    locked = _run([*_export(root, package), "--no-emit-workspace", "--no-annotate"], root)
    (into / REQUIREMENTS).write_text(locked, "utf-8")
    with tempfile.TemporaryDirectory(prefix="tidemark-release-") as directory:
        for member in members(root, package):
            copy = Path(directory) / member
            copy.mkdir(parents=True)
            shutil.copy2(root / member / "pyproject.toml", copy)
            shutil.copytree(root / member / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.nb?"))
            if member in ASSETS:
                built, place = ASSETS[member]
                if not (root / built).is_dir():
                    raise ReleaseError(f"{built} is not built: make web")
                shutil.copytree(root / built, copy / place, dirs_exist_ok=True)
            _run(
                [find_uv(root), "build", "--quiet", "--wheel", "--no-sources", "--out-dir", str(into), str(copy)], root
            )
    return sorted(into.glob("*.whl"))


def write_bill(root: Path, package: str, file: Path) -> None:
    """Bill of materials (CycloneDX 1.5, JSON) of a package: what the lock has it installed with, and by which hashes.

    Raises ReleaseError.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_run([*_export(root, package), "--format", "cyclonedx1.5"], root), "utf-8")


def no_engine() -> str:
    """Why no image can be built here; empty where one can."""
    if shutil.which("docker") is None:
        return "docker is not installed"
    for command, reason in (
        (["docker", "compose", "version"], "docker has no compose plugin"),
        (["docker", "info"], "no container engine answers"),
    ):
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return reason
    return ""


def build_image(root: Path, service: str, version: str) -> str:
    """Builds the image by the recipe that compose uses; returns its name. Raises ReleaseError."""
    revision = _run(["git", "rev-parse", "HEAD"], root).strip()
    command = ["docker", "compose", "-f", COMPOSE, "build", "--build-arg", f"REVISION={revision}", service]
    _run(command, root, {f"{service.upper()}_TAG": version})
    return f"tidemark/{service}:{version}"


def find_uv(root: Path) -> str:
    """uv says where it is to what it runs; else that on the PATH, or the checkout's own. Raises ReleaseError."""
    found = os.environ.get("UV") or shutil.which("uv") or shutil.which("uv", path=str(root / OWN_UV))
    if not found:
        raise ReleaseError(f"uv is neither on the PATH nor in {OWN_UV}: `make sync` installs it there")
    return found


def _export(root: Path, package: str) -> list[str]:
    return [find_uv(root), "export", "--quiet", "--frozen", "--no-dev", "--no-header", "--package", package]


def _run(command: Sequence[str], directory: Path, environment: Mapping[str, str] | None = None) -> str:
    env = {**os.environ, **(environment or {})}
    done = subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"{' '.join(command)} failed:\n{(done.stderr or done.stdout)[-3000:]}")
    return done.stdout
