"""A small file system for one worker's stores, so that it can be filled without filling anybody else's."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

SIZE_MIB: Final = 192
BALLAST: Final = "ballast"
CHUNK: Final = 1024 * 1024
MOUNT_TIMEOUT_S: Final = 10.0


class SmallDisk:
    """A context: a tmpfs at ``path``; where the machine refuses, a plain directory, and ``why_not`` says why."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.why_not = ""

    def __enter__(self) -> Self:
        unmount(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        if os.geteuid() != 0 or shutil.which("mount") is None:
            self.why_not = "a file system of its own for one worker needs root and `mount`"
            return self
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tidemark-chaos", str(self.path)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=MOUNT_TIMEOUT_S)
        except subprocess.SubprocessError as error:
            self.why_not = f"a small file system cannot be mounted: {getattr(error, 'stderr', '') or error}".strip()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        unmount(self.path)

    def fill(self) -> None:
        """Leaves not a byte free."""
        size = CHUNK
        with (self.path / BALLAST).open("wb", buffering=0) as file:
            while size:
                try:
                    file.write(bytes(size))
                except OSError:
                    size //= 2

    def free(self) -> None:
        """Gives the space back."""
        (self.path / BALLAST).unlink(missing_ok=True)


def unmount(path: Path) -> None:
    """Unmounts what a storm, or one that was killed, left mounted there."""
    if path.is_mount():
        with contextlib.suppress(subprocess.SubprocessError, OSError):
            subprocess.run(["umount", "--lazy", str(path)], check=True, capture_output=True, timeout=MOUNT_TIMEOUT_S)
