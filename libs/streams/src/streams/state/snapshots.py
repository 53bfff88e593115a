"""Snapshots of bulk state on disk: a directory each, named by its sequence, complete once it has its final name.

Beside the state stands what it is: the input positions that it includes and the version of its layout in
``positions.json``, the id of the layout and what the state was declared to be in ``layout.json``.
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.model.errors import Newer, Refused
from streams.model.tables import SnapshotLayout, Snapshotted
from streams.process.logs import get_logger

KEEP = 2
_POSITIONS = "positions.json"
_LAYOUT = "layout.json"
_VERSION = "@version"
_log = get_logger(__name__)
Tell = Callable[[str, int, int, int], None]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state and the input positions it includes."""

    state: Any
    positions: Mapping[str, int]


class SnapshotDirectory:
    """The snapshots of one task. ``layout``: id of what is saved there, the full name of the stage and its table."""

    def __init__(
        self,
        path: Path,
        declaration: Snapshotted[Any],
        layout: str = "",
        tell: Tell = lambda *_: None,
        *,
        owned: bool = True,
    ) -> None:
        """``owned``: nobody else writes there, so what was not finished is removed."""
        self._path = path
        self._declaration = declaration
        self._layout = layout or declaration.name
        self._tell = tell
        path.mkdir(parents=True, exist_ok=True)
        for stale in path.glob("*.part") if owned else ():
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
        declared = {"layout": self._layout, "declared": self._declaration.declare(state)}
        (part / _LAYOUT).write_text(json.dumps(declared))
        (part / _POSITIONS).write_text(json.dumps(dict(positions) | self._said()))
        part.rename(self._path / str(number))
        for old in [*present, part][:-KEEP]:
            shutil.rmtree(old, ignore_errors=True)

    def _said(self) -> dict[str, int]:
        """The version, beside the positions: a release that knows none takes it for a topic, far ahead of what it has
        committed, and does not read the snapshot.
        """
        version = self._declaration.version
        return {_VERSION: version} if version > 1 else {}

    def newest(self, committed: Mapping[str, int]) -> Snapshot | None:
        """The newest snapshot that is not ahead of the committed positions; unreadable ones are removed.

        Raises Newer or Refused, with everything left as it is, where that one is of a layout that cannot be read.
        """
        for path in reversed(self._complete()):
            try:
                positions: dict[str, int] = json.loads((path / _POSITIONS).read_text())
                layout = self._layout_of(path, positions.pop(_VERSION, 1))
                self._check(path, layout)
                if any(offset > committed.get(topic, 0) for topic, offset in positions.items()):
                    shutil.rmtree(path)
                    continue
                return Snapshot(self._load(path, layout), positions)
            except (MemoryError, Refused):
                raise
            except Exception:
                # A torn snapshot costs a longer replay, nothing else; what reads it may raise anything.
                shutil.rmtree(path, ignore_errors=True)
        return None

    def nearest(self, accepts: Callable[[Mapping[str, int]], bool]) -> Iterator[Snapshot]:
        """Snapshots whose input positions are accepted, the newest first. For readers beside the task: nothing is
        removed, and what cannot be read, or is being removed, is passed over.
        """
        for path in reversed(self._complete()):
            with contextlib.suppress(Exception):
                positions: dict[str, int] = json.loads((path / _POSITIONS).read_text())
                layout = self._layout_of(path, positions.pop(_VERSION, 1))
                self._check(path, layout)
                if accepts(positions):
                    yield Snapshot(self._declaration.load(path, layout), positions)

    def _layout_of(self, path: Path, version: int) -> SnapshotLayout:
        said = json.loads((path / _LAYOUT).read_text()) if (path / _LAYOUT).exists() else {}
        return SnapshotLayout(said.get("layout", ""), version, said.get("declared", {}))

    def _check(self, path: Path, layout: SnapshotLayout) -> None:
        mine = SnapshotLayout(self._layout, self._declaration.version, {})
        found = f"the snapshot {path} is of {layout}, and this release knows {mine}"
        if layout.name not in ("", mine.name):
            raise Refused(f"{found}: it belongs to something else")
        if layout.version > mine.version:
            raise Newer(f"{found}: start the release that wrote it, or remove it and the input is replayed")
        if layout.version < self._declaration.oldest:
            raise Refused(f"{found}, and no older than {self._declaration.oldest}: remove it and the input is replayed")

    def _load(self, path: Path, layout: SnapshotLayout) -> Any:
        version = self._declaration.version
        if layout.version == version:
            return self._declaration.load(path, layout)
        steps = version - layout.version
        self._tell("migrating", 0, steps, 0)
        state = self._declaration.load(path, layout)
        self._tell("migrating", steps, steps, 0)
        _log.info("snapshot_migrated", snapshot=str(path), of=str(layout), to=version)
        return state
