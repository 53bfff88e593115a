"""Memory that is kept, as the system counts it."""

import subprocess
import sys

import pytest

SECOND_TIME = """
import resource, sys
from streams.process.allocator import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit("no mallopt")
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = bytearray(64 * 1024 * 1024)
    block[:: 4096] = b"1" * len(block[:: 4096])
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: str) -> int:
    """Page faults of taking a block for the second time, in a process of its own. Skips where nothing can be set."""
    done = subprocess.run([sys.executable, "-c", SECOND_TIME, keep], capture_output=True, text=True, check=False)
    if "no mallopt" in done.stderr:
        pytest.skip("the C library has no mallopt")
    return int(done.stdout)


def test_block_when_freed_memory_is_kept_then_taking_it_again_touches_no_new_page() -> None:
    kept = faults("keep")
    assert kept < 10 < faults("as it is")
