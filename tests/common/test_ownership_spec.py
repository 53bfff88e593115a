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


def test_rule_when_every_interleaving_of_one_taker_and_a_task_is_tried_then_each_is_safe(ownership: ModuleType) -> None:
    said: list[str] = []
    arguments = ["--exhaust", "--takers", "1", "--writes", "1", "--restarts", "0"]
    assert ownership.main(arguments, said.append) == 0, said


@pytest.mark.parametrize(
    ("rule", "seed"),
    [("newest", 533), ("owner-row", 533), ("no-look", 65), ("early", 31), ("no-task", 5), ("keep", 38)],
)
def test_simpler_rule_when_races_are_tried_then_it_is_found_out(ownership: ModuleType, rule: str, seed: int) -> None:
    said: list[str] = []
    assert ownership.main(["--rule", rule, "--first", str(seed), "--seeds", "1"], said.append) == 1, said
    assert "unsafe" in said[0]
