"""Every guide does what it says: its blocks are carried out in their order, in a copy of the repository, or in an empty
directory where none of them changes a file.

A block in ``bash`` or ``python`` is run, one with a title is written to the file of that name, one in ``diff`` is
applied. A guide that says ``<!-- needs: kafka -->`` finds a broker and a Redis; one that names packages is skipped
where they are not installed (``make sync`` installs them); ``<!-- slow -->`` marks its test.
"""

import re
import time
from pathlib import Path

import pytest
from parts import Stack

from tests.docs.guide import GUIDES, ROOT, Block, GuideError, Scratch, blocks

NEEDS_KAFKA = "<!-- needs: kafka -->"
NEEDS_PACKAGES = re.compile("<!-- needs: (pandas.*) -->")
SLOW = "<!-- slow -->"
TEXTS = {path.stem: path.read_text("utf-8") for path in sorted(GUIDES.glob("*.md"))}


def guides() -> list[object]:
    return [pytest.param(name, marks=[pytest.mark.slow] if SLOW in text else []) for name, text in TEXTS.items()]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", guides())
def test_guide_when_followed_then_every_step_works(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    environment = {"TIDEMARK_STATE_DIR": str(tmp_path / "state"), "TIDEMARK_DATA_DIR": str(tmp_path / "data")}
    for package in NEEDS_PACKAGES.findall(TEXTS[name]):
        for one in package.split(", "):
            pytest.importorskip(one)
    if NEEDS_KAFKA in TEXTS[name]:
        stack: Stack = request.getfixturevalue("stack")
        environment |= {"TIDEMARK_KAFKA_BOOTSTRAP": stack.kafka_bootstrap, "TIDEMARK_REDIS_URL": stack.redis_url}
    steps = list(blocks(TEXTS[name]))
    assert steps, f"{name} has nothing to carry out"
    is_changed = any(step.is_change for step in steps)
    scratch = Scratch(tmp_path / "copy", environment, as_installed=not is_changed)
    for step in steps:
        began = time.monotonic()
        scratch.carry_out(step)
        print(f"{name}, line {step.line}: {time.monotonic() - began:.1f} s")


def test_blocks_then_files_commands_and_changes_are_told_apart() -> None:
    guide = (
        '# A\n\n```python title="a.py"\nx = 1\n```\n\n```text\nno\n```\n\n```bash\nls\n```\n\n```toml\nshown = 1\n```\n'
    )
    assert [(b.language, b.title, b.line, b.is_file) for b in blocks(guide)] == [
        ("python", "a.py", 3, True),
        ("bash", "", 11, False),
    ]


def test_scratch_when_a_step_fails_then_its_line_and_output_are_told(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "copy", {})
    with pytest.raises(GuideError, match=r"line 7, exit code 3(.|\n)*what is wrong"):
        scratch.carry_out(Block(7, "bash", "", "echo what is wrong\n(exit 3)\n"))
    with pytest.raises(GuideError, match="line 9"):
        scratch.carry_out(Block(9, "diff", "", "--- a/Makefile\n+++ b/Makefile\n@@ -1 +1 @@\n-no such line\n+x\n"))


def test_scratch_when_a_step_leaves_a_process_behind_then_it_is_ended(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "copy", {})
    pid = int(scratch.carry_out(Block(1, "bash", "", "sleep 300 > /dev/null 2>&1 &\necho $!\n")))
    deadline = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether the process is there, and no zombie that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_scratch_when_files_are_changed_then_the_copy_is_used_and_the_repository_is_as_it_was(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "copy", {})
    scratch.carry_out(Block(1, "python", "libs/common/src/common/contracts/values.py", "HERE = 'copy'\n"))
    command = "uv run python -c 'import common.contracts.values as v; print(v.HERE)'"
    told = scratch.carry_out(Block(2, "bash", "", command))
    assert told.strip().endswith("copy")
    assert "HERE" not in (ROOT / "libs/common/src/common/contracts/values.py").read_text("utf-8")
