"""Reads and writes of one release of one service, as the file that stays of it: ``services/<name>/releases``.

A contract is named as its file in ``libs/common/schemas``: a message, a view, a binary layout, the rows of a stage's
tables (``rows-…``), tables in PostgreSQL (``columns-…``) or a stage's snapshot (``snapshot-…``). A file is named with
its git blob id, so that what was released can be read again from the repository's history, however the file has grown.
"""

import hashlib
import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from common.contracts.schemas import DIRECTORY

ROOT: Final = Path(__file__).parents[5]
"""Root of the repository; releases are made in a checkout."""
FOLDER: Final = "releases"


class ReleaseError(Exception):
    """A release is refused, with the reasons and the way out."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """``reads``: contract → versions; ``writes``: contract → version; ``contracts``: file's stem → git blob id."""

    service: str
    version: str
    reads: Mapping[str, tuple[int, ...]]
    writes: Mapping[str, int]
    contracts: Mapping[str, str]

    @property
    def file_name(self) -> str:
        return f"{self.version}.json"

    def text(self) -> str:
        """The file's content: sorted, so that the same release is the same bytes."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError or KeyError for a text that is none."""
        said = json.loads(text)
        reads = {name: tuple(versions) for name, versions in said["reads"].items()}
        return cls(said["service"], said["version"], reads, said["writes"], said["contracts"])


def order_of(version: str) -> tuple[int, ...]:
    """By what versions are sorted. Raises ValueError for one that is not numbers between dots."""
    return tuple(int(part) for part in version.split("."))


def folder_of(service: str, root: Path = ROOT) -> Path:
    """The folder of a service's package."""
    return root / "services" / service


def released(service: str, root: Path = ROOT) -> list[Manifest]:
    """The releases on file, oldest first."""
    files = (folder_of(service, root) / FOLDER).glob("*.json")
    return sorted((Manifest.parse(file.read_text("utf-8")) for file in files), key=lambda one: order_of(one.version))


def made(service: str, version: str, reads: Mapping[str, tuple[int, ...]], writes: Mapping[str, int]) -> Manifest:
    """A manifest of what is on file now."""
    named = {f"{name}.v{version}" for name, versions in reads.items() for version in versions}
    named |= {f"{name}.v{version}" for name, version in writes.items()}
    files = {stem: DIRECTORY / f"{stem}.json" for stem in sorted(named)}
    blobs = {stem: blob_id(file.read_bytes()) for stem, file in files.items() if file.is_file()}
    return Manifest(service, version, dict(sorted(reads.items())), dict(sorted(writes.items())), blobs)


def blob_id(content: bytes) -> str:
    """By what git knows a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def document_of(blob: str, root: Path = ROOT) -> dict[str, Any]:
    """A contract as it was released, from git. Raises ReleaseError where the history is not all there."""
    done = subprocess.run(["git", "cat-file", "blob", blob], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"git has no object {blob}, which a release names: fetch the whole history")
    document: dict[str, Any] = json.loads(done.stdout)
    return document
