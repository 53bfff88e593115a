"""Wall clocks that jump, one per worker: a shim between the process and the C library, as libfaketime does it.

The machine's own clock is everybody's, and time namespaces shift only the monotonic clocks (time_namespaces(7)).
"""

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("clock_shim.c")
COMPILERS: Final = ("cc", "gcc", "clang")
COMPILE_TIMEOUT_S: Final = 60.0


class Clocks:
    """The shim, and one file per worker that says by how much its clock is off."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.resolve()
        self._library = self._directory / "clock.so"
        self.why_not = ""
        """Why no clock can be shifted here; empty where they can."""

    def prepare(self, workers: tuple[str, ...]) -> None:
        """Compiles the shim and sets every worker's clock right; ``why_not`` says what is missing."""
        self._directory.mkdir(parents=True, exist_ok=True)
        compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
        if compiler is None:
            self.why_not = "no C compiler for the shim that shifts a process's clock"
            return
        command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(self._library), str(SOURCE), "-ldl"]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=COMPILE_TIMEOUT_S)
        except (subprocess.SubprocessError, OSError) as error:
            self.why_not = f"the shim that shifts a process's clock does not compile: {error}"
        for worker in workers:
            self.shift(worker, 0)

    def environment(self) -> dict[str, str]:
        """Environment that puts workers under the shim; empty where that cannot be done."""
        if self.why_not:
            return {}
        return {"LD_PRELOAD": str(self._library), "TIDEMARK_CLOCKS": str(self._directory)}

    def shift(self, worker: str, offset_ns: int) -> None:
        """Puts a worker's wall clock off by so much, at once and in one step."""
        path = self._directory / worker
        # Overwritten in place: the process has these very eight bytes mapped.
        with path.open("r+b" if path.exists() else "wb", buffering=0) as file:
            file.write(struct.pack("=q", offset_ns))
