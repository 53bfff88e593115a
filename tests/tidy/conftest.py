"""The files of the repository, as the rules see them."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BINARY = frozenset({".png", ".gz", ".ico", ".woff2", ".itch", ".bin", ".parquet", ".npy", ".gif", ".webp", ".zst"})


@pytest.fixture(scope="session")
def files() -> Mapping[str, str]:
    """Text of every file that git tracks or would track, by its path from the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = sorted({name for name in listed.split("\0") if name})
    present = [name for name in paths if (ROOT / name).is_file() and Path(name).suffix not in BINARY]
    assert present, "the rules saw no file"
    return {name: (ROOT / name).read_text("utf-8") for name in present}
