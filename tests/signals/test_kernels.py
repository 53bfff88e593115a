"""Where compiled kernels are kept, and the text that the CSV kernel writes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signals.domain.csv_kernel import csv_lines
from signals.kernels import cache_dir

INT64 = st.one_of(st.integers(-(2**63) + 1, 2**63 - 1), st.integers(0, 18).map(lambda n: 10**n), st.integers(-9, 9))


def test_cache_when_configured_then_below_it_and_named_by_the_sources(tmp_path: Path) -> None:
    first, second = cache_dir(str(tmp_path / "a")), cache_dir(str(tmp_path / "b"))
    assert first.is_dir()
    assert first.parent == tmp_path / "a"
    assert first.name == second.name


def test_cache_when_not_configured_then_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir("").parent == tmp_path / "tidemark" / "kernels"


def test_cache_when_no_directory_can_be_made_then_among_the_temporary_files(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert tmp_path not in cache_dir(str(blocked)).parents


@settings(deadline=None)
@given(st.lists(st.tuples(INT64, st.integers(0, 2), INT64), max_size=20))
def test_csv_lines_when_any_integers_then_as_python_writes_them(rows: list[tuple[int, int, int]]) -> None:
    symbols = np.array([b"A", b"BRK.A", b"SIXTEEN.LETTERS!"], "S16")
    numbers = np.array(rows, np.int64).reshape(-1, 3)
    expected = "".join(f"{a},{symbols[i].decode()},{b}\n" for a, i, b in rows)
    assert csv_lines(numbers, 1, symbols).decode() == expected
