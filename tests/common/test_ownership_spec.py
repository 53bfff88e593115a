"""The ownership protocol, checked as a model: the rule holds, and every simpler one nearby is found out."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SPEC = Path(__file__).parents[2] / "docs" / "spec" / "ownership.py"


@pytest.fixture(scope="module")
def ownership() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ownership_spec", SPEC)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_rule_when_histories_are_random_then_each_is_safe(ownership: ModuleType) -> None:
    said: list[str] = []
    assert ownership.main(["--seeds", "300"], said.append) == 0, said


def test_rule_when_interleavings_are_tried_in_breadth_then_each_is_safe(ownership: ModuleType) -> None:
    said: list[str] = []
    arguments = ["--exhaust", "--takers", "2", "--writes", "1", "--restarts", "0", "--states", "40000"]
    assert ownership.main(arguments, said.append) == 0, said


@pytest.mark.parametrize(
    ("rule", "seed"),
    [
        ("newest", 304),
        ("owner-row", 3958),
        ("no-look", 10),
        ("early", 71),
        ("no-task", 32),
        ("keep", 38),
    ],
)
def test_simpler_rule_when_races_are_tried_then_it_is_found_out(ownership: ModuleType, rule: str, seed: int) -> None:
    said: list[str] = []
    assert ownership.main(["--rule", rule, "--first", str(seed), "--seeds", "1"], said.append) == 1, said
    assert "unsafe" in said[0]


@pytest.mark.slow
def test_look_back_when_it_ends_at_the_claim_then_compaction_hides_an_owner(ownership: ModuleType) -> None:
    said: list[str] = []
    arguments = ["--rule", "no-more", "--exhaust", "--takers", "2", "--writes", "1", "--restarts", "0"]
    assert ownership.main(arguments, said.append) == 1, said
