"""The place of compiled kernels on disk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from common import kernels
from common.kernels import cache_dir

DOMAIN = Path(kernels.__file__).parent


def test_cache_when_configured_then_below_it_and_named_by_the_sources(tmp_path: Path) -> None:
    first, second = cache_dir(DOMAIN, str(tmp_path / "a")), cache_dir(DOMAIN, str(tmp_path / "b"))
    assert first.is_dir()
    assert first.parent == tmp_path / "a"
    assert first.name == second.name


def test_cache_when_not_configured_then_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir(DOMAIN, "").parent == tmp_path / "tidemark" / "kernels"


def test_cache_when_no_directory_can_be_made_then_among_the_temporary_files(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert tmp_path not in cache_dir(DOMAIN, str(blocked)).parents


def test_cache_when_a_source_changes_then_another_directory(tmp_path: Path) -> None:
    domain = tmp_path / "domain"
    domain.mkdir()
    (domain / "sum.py").write_text("1 + 1")
    before = cache_dir(domain, str(tmp_path / "cache"))
    (domain / "sum.py").write_text("1 + 2")
    assert cache_dir(domain, str(tmp_path / "cache")) != before


CALLER = """
from pathlib import Path
from common.kernels import compiler, part
from called import answer
kernel = compiler(Path(__file__).parent, allocates={allocates})

@kernel
def ask():
    return answer()

if __name__ == "__main__":
    print(ask(), ask.stats.cache_hits[()] if ask.stats.cache_hits else 0)
"""
CALLED = """
from common.kernels import {decorator}

@{decorator}
def answer():
    return {value}
"""


@pytest.mark.slow
@pytest.mark.parametrize(("decorator", "allocates"), [("part", False), ("inlined", True)])
def test_machine_code_when_only_a_file_that_it_calls_changes_then_it_is_compiled_anew(
    tmp_path: Path, decorator: str, allocates: bool
) -> None:
    (tmp_path / "asks.py").write_text(CALLER.format(allocates=allocates))
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def asked(value: int) -> list[str]:
        (tmp_path / "called.py").write_text(CALLED.format(decorator=decorator, value=value))
        ran = subprocess.run([sys.executable, tmp_path / "asks.py"], env=environment, check=True, capture_output=True)
        return ran.stdout.decode().split()

    assert asked(1) == ["1", "0"]
    assert asked(1) == ["1", "1"], "the same sources are compiled once"
    assert asked(2) == ["2", "0"]
