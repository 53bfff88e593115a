"""Programs that refuse root still reach what root may reach."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from parts.processes import launch_command, unprivileged_uid

LOOK = "import os, sys; sys.exit(0 if os.getuid() and os.access(sys.argv[1], os.X_OK) else 1)"


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="only root gives up root")
def test_program_below_a_closed_directory_then_access_finds_it_for_the_other_user(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    program = closed / "program"
    program.write_text("#!/bin/sh\n", "utf-8")
    program.chmod(0o755)
    look = [sys.executable, "-I", "-S", "-c", LOOK, str(program)]
    done = subprocess.run(launch_command(look, death_signal=0, uid=unprivileged_uid()), check=False)
    assert done.returncode == 0
