"""Where compiled kernels are kept."""

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
