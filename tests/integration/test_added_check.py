"""A check that is added to the tuple, and to nothing else, denies on both paths and is shown everywhere."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import common
import pytest

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guides" / "add-a-check.md").read_text("utf-8")
ASK = [sys.executable, "-m", "tests.integration.asked_gate"]


def block(language: str, number: int = 0) -> str:
    """A piece of the guide."""
    return str(re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)[number])


def asked(*quantities: int, **environment: str) -> dict[str, Any]:
    """The answers of a new process's gate, see ``asked_gate.py``."""
    command = [*ASK, *map(str, quantities)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def is_shown(said: dict[str, Any], name: str, reason: str, meaning: str, numbers: tuple[str, ...], denied: int) -> None:
    """In the README's table, in the API's description and in the metrics."""
    listed = ", ".join(f"`{number}`" for number in numbers)
    assert f"| `{name}` | `{reason}` | {meaning} | {listed} |" in said["table"].splitlines()
    assert reason in said["openapi"]["enum"]
    assert f"- `{reason}`: {meaning} (`{name}`)" in said["openapi"]["description"].splitlines()
    assert f'tidemark_risk_denials_total{{check="{name}",reason="{reason}"}} {denied:.1f}' in said["metrics"]


@pytest.mark.slow
def test_check_when_appended_to_the_tuple_then_denied_one_by_one_and_in_a_batch_and_shown(tmp_path: Path) -> None:
    """The check of the guide, in a copy of the sources in which nothing but the tuple's module differs."""
    shutil.copytree(Path(common.__file__).parent, tmp_path / "common")
    gate = tmp_path / "common" / "checks" / "gate.py"
    rules, tuple_begin, checks = gate.read_text("utf-8").partition("\nCHECKS: Final")
    body = checks.rstrip().removesuffix(")")
    gate.write_text(f"{rules}\n{block('py')}\n{tuple_begin}{body}    notional_not_tiny,\n)\n", "utf-8")
    said = asked(4, 5, 1, 6, PYTHONPATH=str(tmp_path))
    tiny = [["NOTIONAL_TOO_SMALL", {"notional_e4": qty * 1_000_000, "notional_min_e4": 5_000_000}] for qty in (4, 1)]
    assert said["one_by_one"] == [tiny[0], None, tiny[1], None]
    assert said["batch"] == said["one_by_one"]
    numbers = ("notional_e4", "notional_min_e4")
    meaning = "price times quantity is below 500.00"
    is_shown(said, "notional_not_tiny", "NOTIONAL_TOO_SMALL", meaning, numbers, denied=4)


def test_check_when_of_a_package_outside_the_services_then_denied_one_by_one_and_in_a_batch_and_shown() -> None:
    """10,000.00 are available: 25 shares at 100.00 are a quarter, and 18 of the 75 that are then left."""
    said = asked(26, 25, 19, 18, TIDEMARK_CHECKS='["cash_share"]')
    assert said["one_by_one"] == [
        ["CASH_SHARE_TOO_LARGE", {"required_cash_e4": 26_000_000, "buyable_cash_e4": 25_000_000}],
        None,
        ["CASH_SHARE_TOO_LARGE", {"required_cash_e4": 19_000_000, "buyable_cash_e4": 18_750_000}],
        None,
    ]
    assert said["batch"] == said["one_by_one"]
    meaning = "a BUY would use more than a quarter of the cash that is available"
    numbers = ("required_cash_e4", "buyable_cash_e4")
    is_shown(said, "cash_share", "CASH_SHARE_TOO_LARGE", meaning, numbers, denied=4)


def test_check_when_asked_for_and_not_installed_then_the_service_does_not_start_and_says_so_in_one_line() -> None:
    environment = {**os.environ, "TIDEMARK_CHECKS": '["cash_shares"]'}
    command = [sys.executable, "-m", "risk", "worker"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "risk: check 'cash_shares' is installed 0 times, not once; installed are cash_share\n"


def test_guide_when_its_commands_are_run_then_the_table_has_the_check() -> None:
    """In this environment, which is what ``uv run`` stands for."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-euc", block("bash").replace("uv run ", "")]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "| `cash_share` | `CASH_SHARE_TOO_LARGE` |" in done.stdout
    assert block("toml").splitlines()[1] in (ROOT / "examples" / "pyproject.toml").read_text("utf-8").splitlines()
