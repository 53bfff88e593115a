"""Every alert has a runbook and a test that makes it ring; no runbook is of an alert that does not exist."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RUNBOOKS = "docs/runbooks.md"
HEADING = re.compile(r"^## (\w+)$", re.MULTILINE)
FIRES = re.compile(r'\bfires\(\s*"(\w+)"')
METRIC = re.compile(r"\btidemark_\w+")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((ROOT / "compose" / "alerts.yml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def headings() -> list[str]:
    return HEADING.findall((ROOT / RUNBOOKS).read_text("utf-8"))


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_alert_says_how_loud_it_is_what_is_so_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "warn"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["runbook"] == f"{RUNBOOKS}#{rule['alert'].lower()}"
    assert rule["alert"] in headings()


def test_runbook_is_of_an_alert_and_there_once() -> None:
    assert sorted(headings()) == sorted(rule["alert"] for rule in rules())


def test_alert_is_made_to_ring_by_a_test() -> None:
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests" / "e2e").glob("test_alerts*.py"))
    assert sorted({rule["alert"] for rule in rules()} - set(FIRES.findall(tests))) == []


def test_alert_reads_metrics_that_the_code_exports() -> None:
    """A name that nobody exports is an alert that never rings."""
    sources = "\n".join(
        path.read_text("utf-8")
        for part in ("libs", "services", "tools")
        for path in (ROOT / part).glob("*/src/**/*.py")
    )
    asked = {name for rule in rules() for name in METRIC.findall(rule["expr"])}
    assert sorted(name for name in asked if f'"{name}"' not in sources) == []
