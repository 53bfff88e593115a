"""Git's hooks: they check what is committed, with what is installed, and need no network."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.docs.guide import ROOT, Block, GuideError, Scratch

CONFIG = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))


def test_every_hook_runs_what_is_installed() -> None:
    assert [repository["repo"] for repository in CONFIG["repos"]] == ["local"]
    for hook in CONFIG["repos"][0]["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".ci/uv ")


def test_commit_when_style_is_broken_then_refused_and_else_taken(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    scratch = Scratch(copy, {"UV_OFFLINE": "1", "PRE_COMMIT_HOME": str(tmp_path / "home")})
    scratch.carry_out(Block(1, "bash", "", "git config user.email a@b && git config user.name a && make hooks"))
    broken = "def f():\n    return undefined_name\n"
    with pytest.raises(GuideError, match="F821"):
        scratch.carry_out(
            Block(2, "bash", "", f"printf '{broken}' > bench/a.py && git add bench/a.py && git commit -m a")
        )
    scratch.carry_out(Block(3, "bash", "", "printf 'X = 1\\n' > bench/a.py && git add bench/a.py && git commit -m a"))
    log = subprocess.run(["git", "log", "--format=%s"], cwd=copy, check=True, capture_output=True, text=True).stdout
    assert log == "a\n"
