"""Snapshots of bulk state on disk: a directory each, named by its sequence, complete once it has its final name."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.model.tables import Snapshotted

KEEP = 2
_POSITIONS = "positions.json"
_VERSION = "@version"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state and the input positions it includes."""

    state: Any
    positions: Mapping[str, int]


class SnapshotDirectory:
    """The snapshots of one task."""

    def __init__(self, path: Path, declaration: Snapshotted[Any]) -> None:
        self._path = path
        self._declaration = declaration
        path.mkdir(parents=True, exist_ok=True)
        for stale in path.glob("*.part"):
            shutil.rmtree(stale)

    def _complete(self) -> list[Path]:
        return sorted((p for p in self._path.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))

    def save(self, state: Any, positions: Mapping[str, int]) -> None:
        """Writes a new snapshot and removes all but the newest ones. Raises OSError where the disk refuses."""
        present = self._complete()
        number = int(present[-1].name) + 1 if present else 1
        part = self._path / f"{number}.part"
        part.mkdir()
        self._declaration.save(state, part)
        (part / _POSITIONS).write_text(json.dumps(dict(positions) | self._said()))
        part.rename(self._path / str(number))
        for old in [*present, part][:-KEEP]:
            shutil.rmtree(old, ignore_errors=True)

    def _said(self) -> dict[str, int]:
        """The version, beside the positions: a release that knows none takes it for a topic, far ahead of what it has
        committed, and leaves the snapshot alone.
        """
        version = self._declaration.version
        return {_VERSION: version} if version > 1 else {}

    def newest(self, committed: Mapping[str, int]) -> Snapshot | None:
        """The newest snapshot that is not ahead of the committed positions; unreadable ones are removed.

        One of another version stays until newer ones take its place, for the release that wrote it.
        """
        for path in reversed(self._complete()):
            try:
                positions: dict[str, int] = json.loads((path / _POSITIONS).read_text())
                if positions.pop(_VERSION, 1) != self._declaration.version:
                    continue
                if any(offset > committed.get(topic, 0) for topic, offset in positions.items()):
                    shutil.rmtree(path)
                    continue
                return Snapshot(self._declaration.load(path), positions)
            except MemoryError:
                raise
            except Exception:
                # A torn snapshot costs a longer replay, nothing else; what reads it may raise anything.
                shutil.rmtree(path, ignore_errors=True)
        return None
