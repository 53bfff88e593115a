"""A guide as something that can be carried out: its fenced blocks, in their order, in a copy of the repository."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUIDES = ROOT / "docs" / "guides"
BLOCK = re.compile(r"^```(\w+)(?:[ \t]+title=\"([^\"]+)\")?[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CARRIED_OUT = frozenset({"bash", "python", "diff"})
FILES = frozenset({"python", "toml", "json", "yaml", "markdown", "dockerfile"})
"""Languages whose blocks with a title are the content of the file of that name."""
BLOCK_MAX_S = 240


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block. ``line`` is where it begins in the guide."""

    line: int
    language: str
    title: str
    text: str

    @property
    def is_file(self) -> bool:
        return bool(self.title) and self.language in FILES

    @property
    def is_change(self) -> bool:
        """Whether it writes or changes a file of the repository."""
        return self.is_file or self.language == "diff"


def blocks(guide: str) -> Iterator[Block]:
    """Blocks of a guide that are carried out; those in other languages (``text``, ``mermaid``) are only shown."""
    for found in BLOCK.finditer(guide):
        block = Block(guide.count("\n", 0, found.start()) + 1, found[1], found[2] or "", found[3])
        if block.is_file or block.language in CARRIED_OUT:
            yield block


class GuideError(AssertionError):
    """A block could not be carried out; the text has its line and what was said."""


def copy_checkout(directory: Path) -> None:
    """Copies the files of the repository, those that git does not track yet, too."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for name in _run(listed, ROOT, os.environ).split("\0"):
        if name and (ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, directory / name)


class Scratch:
    """A copy of the tracked files of the repository with its environment, whose own sources go before the installed.

    ``as_installed``: an empty directory, for a guide that changes no source. Its kernels are those already compiled,
    while sources in another place are compiled anew.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str], *, as_installed: bool = False) -> None:
        self._directory = directory
        self._as_installed = as_installed
        self._environment = _environment(environment)
        directory.mkdir(parents=True, exist_ok=True)
        if not as_installed:
            copy_checkout(directory)
            (directory / ".venv").symlink_to(sys.prefix)
            _run(["git", "init", "--quiet"], directory, os.environ)

    def carry_out(self, block: Block) -> str:
        """Writes the file, applies the change or runs the commands; returns what was printed. Raises GuideError."""
        try:
            if block.is_file:
                file = self._directory / block.title
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.text, "utf-8")
                return ""
            commands = {
                "bash": ["bash", "-euo", "pipefail", "-c", block.text],
                "python": [sys.executable, "-c", block.text],
                "diff": ["git", "apply", "--recount", "--unidiff-zero", "-"],
            }
            return _run(commands[block.language], self._directory, self._with_sources(), block.text)
        except subprocess.CalledProcessError as error:
            told = f"line {block.line}, exit code {error.returncode}:\n{block.text}\n{error.output}"
            raise GuideError(told) from None
        except subprocess.TimeoutExpired as error:
            told = f"line {block.line} takes longer than {BLOCK_MAX_S} s:\n{block.text}\n{error.output!r}"
            raise GuideError(told) from None

    def _with_sources(self) -> dict[str, str]:
        """The environment in which packages of the copy are imported, those too that a guide has just added."""
        if self._as_installed:
            return self._environment
        sources = sorted(str(path) for depth in ("*/src", "*/*/src") for path in self._directory.glob(depth))
        return {**self._environment, "PYTHONPATH": os.pathsep.join(sources)}


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """Environment of the commands: this process's, with the environment's programs first, and ``more``."""
    uv = shutil.which("uv") or str(ROOT / ".tidemark" / "uv" / "bin" / "uv")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "MAKE", "MFLAGS"))},
        "PATH": os.pathsep.join([f"{sys.prefix}/bin", str(Path(uv).parent), os.environ["PATH"]]),
        "UV_NO_SYNC": "1",
        **more,
    }


def _run(command: list[str], directory: Path, environment: Mapping[str, str], given: str = "") -> str:
    """Runs a command in a session of its own, of which nothing is left afterwards; returns what was printed."""
    with subprocess.Popen(
        command, cwd=directory, env=environment, text=True, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            told, _ = process.communicate(given, timeout=BLOCK_MAX_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, told)
    return told
