"""The whole check leaves out exactly what passed in an isolated run, and nothing else."""

import os
import re
import subprocess
import sys
from pathlib import Path

CI = Path(__file__).parents[2] / ".ci"
SUITE = """
import pytest

@pytest.mark.parametrize("said", ["plain", "a/b.py::c[d]", "\\u00e9 \\\\ <&>", "\\x00"])
def test_passes(said): pass

class TestGroup:
    def test_passes(self): pass
    def test_fails(self): assert False

@pytest.fixture
def broken():
    yield
    raise RuntimeError

def test_ends_badly(broken): pass
def test_skips(): pytest.skip("not here")
"""
NEW = "def test_new(): pass\n"


def outcomes(root: Path, *arguments: str) -> list[str]:
    """The tests that ran under ``root``, by the names that ``pytest -v`` gives them."""
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--rootdir", ".", *arguments, "tests"]
    environment = {**os.environ, "PYTHONPATH": str(CI), "PYTEST_ADDOPTS": ""}
    ran = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    return re.findall(r"^tests/\S+\.py::(\S+).* (?:PASSED|FAILED|SKIPPED)", ran.stdout, re.MULTILINE)


def test_whole_check_when_cases_passed_alone_then_only_the_others_run(tmp_path: Path) -> None:
    suite = tmp_path / "tests" / "service" / "test_suite.py"
    suite.parent.mkdir(parents=True)
    suite.write_text(SUITE)
    alone = outcomes(tmp_path, "--junitxml", "junit/isolated-service.xml")
    assert len(alone) == 8
    suite.write_text(SUITE + NEW)
    (suite.parent / "test_other.py").write_text("def test_passes(): pass\n")
    beside = outcomes(tmp_path, "-p", "passed_alone", "--passed-alone", "junit")
    assert beside == ["test_passes", "TestGroup::test_fails", "test_ends_badly", "test_skips", "test_new"]


def test_whole_check_when_nothing_ran_alone_then_every_test_runs(tmp_path: Path) -> None:
    suite = tmp_path / "tests" / "test_suite.py"
    suite.parent.mkdir()
    suite.write_text(NEW)
    assert outcomes(tmp_path, "-p", "passed_alone", "--passed-alone", "nothing") == ["test_new"]
