"""``tidemark config``: every setting with its value and origin, no secret among them; and the page made of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from risk.settings import LimitSettings, RiskSettings
from streams.process.settings_tree import FILE_VARIABLE, places
from tidemark import settings_documentation
from tidemark.main import app
from tidemark.settings_table import CLASSES, HIDDEN, own
from typer.testing import CliRunner

SECRET = "correct-horse"
RELEASED = Path(__file__).with_name("released_variables.txt")


def call(*words: str, **environment: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    result = CliRunner(env={"COLUMNS": "250", "TERM": "dumb", **environment}).invoke(app, ["config", *words])
    return result.exit_code, result.stdout, result.stderr


def listed(*words: str, **environment: str) -> dict[tuple[str, str], dict[str, Any]]:
    code, out, errors = call("--json", *words, **environment)
    assert code == 0, errors
    return {(each["service"], each["variable"]): each for each in json.loads(out)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.env"
    path.write_text("# limits\nTIDEMARK_ORDER_QTY_MAX=7\nTIDEMARK_MARK_MAX_AGE_MS=9\nTIDEMARK_ORDR_QTY_MAX=1\n")
    return path


def test_page_of_settings_is_current() -> None:
    assert settings_documentation.FILE.read_text("utf-8") == settings_documentation.render(), (
        "out of date: make schemas"
    )


def test_every_setting_says_what_it_means() -> None:
    every = [place for tree in CLASSES.values() for place in places(tree)]
    assert [".".join(place.path) for place in every if not place.field.description] == []
    groups = {group for place in every for group in place.models}
    assert [group.__name__ for group in groups if not group.__dict__.get("__doc__")] == []


def test_every_variable_that_deployments_may_have_set_is_still_there() -> None:
    """In the list: variables by service, as they were when settings came into groups; what is new is not in it."""
    released = RELEASED.read_text("utf-8").splitlines()
    assert set(released) - {f"{service}: {place.variable}" for service in CLASSES for place in own(service)} == set()


def test_config_when_listed_then_each_setting_of_each_service_is_there_once() -> None:
    found = listed()
    assert set(found) == {(service, place.variable) for service in CLASSES for place in own(service)}
    assert {each["service"] for each in found.values()} == set(CLASSES)
    assert found["every service", "TIDEMARK_KAFKA_SASL_USERNAME"]["name"] == "kafka.sasl.username"
    assert found["risk", "TIDEMARK_ORDER_QTY_MAX"]["name"] == "limits.order_qty_max"
    assert ("push", "TIDEMARK_REDIS_URL") not in found, "its group has more than that of every service, but shares this"


def test_config_when_environment_and_file_differ_then_each_value_names_its_origin(file: Path) -> None:
    given = {FILE_VARIABLE: str(file), "TIDEMARK_MARK_MAX_AGE_MS": "11", "TIDEMARK_LOG_LEVEL": "DEBUG"}
    found = listed(**given)
    shown = {
        name: (found["risk", name]["value"], found["risk", name]["origin"])
        for _, name in found
        if ("risk", name) in found
    }
    assert shown["TIDEMARK_ORDER_QTY_MAX"] == (7, "file")
    assert shown["TIDEMARK_MARK_MAX_AGE_MS"] == (11, "environment"), "the environment goes before the file"
    assert shown["TIDEMARK_LIMIT_COLLAR_BPS"] == (RiskSettings().limits.limit_collar_bps, "default")
    changed = listed("--changed", **given)
    assert sorted(name for _, name in changed) == [
        "TIDEMARK_LOG_LEVEL", "TIDEMARK_MARK_MAX_AGE_MS", "TIDEMARK_ORDER_QTY_MAX",
    ]  # fmt: skip


def test_service_reads_the_file_that_config_shows(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FILE_VARIABLE, str(file))
    assert RiskSettings().limits.order_qty_max == 7
    assert RiskSettings(limits=LimitSettings(order_qty_max=3)).limits.order_qty_max == 3


def test_config_when_settings_are_secret_then_hidden_in_table_and_json() -> None:
    given = {
        "TIDEMARK_POSTGRES_DSN": f"postgresql://tidemark:{SECRET}@db:5432/tidemark",
        "TIDEMARK_REDIS_URL": f"redis://:{SECRET}@cache:6379/0",
    }
    found = listed(**given)
    assert found["orders", "TIDEMARK_POSTGRES_DSN"]["value"] == HIDDEN
    assert found["orders", "TIDEMARK_POSTGRES_DSN"]["secret"]
    assert found["every service", "TIDEMARK_REDIS_URL"]["value"] == HIDDEN
    for words in ((), ("--json",), ("orders",)):
        _, out, errors = call(*words, **given)
        assert out
        assert SECRET not in out + errors


def test_config_of_one_service_then_what_it_shares_is_listed_with_its_own_defaults() -> None:
    found = listed("orders")
    assert found["orders", "TIDEMARK_BATCH_MESSAGES_MAX"]["value"] == 500
    assert ("orders", "TIDEMARK_KAFKA_BOOTSTRAP") in found


def test_config_when_a_service_would_refuse_then_ends_with_1_and_names_the_variable() -> None:
    code, _, errors = call(TIDEMARK_MARKET_COLLAR_BPS="70000", TIDEMARK_POSTGRES_DSN=SECRET)
    assert code == 1
    assert "TIDEMARK_MARKET_COLLAR_BPS" in errors
    assert SECRET not in errors


def test_config_when_json_of_a_setting_is_broken_or_the_file_is_not_there_then_ends_with_1(tmp_path: Path) -> None:
    code, _, errors = call(TIDEMARK_SYMBOL_LIMITS="{")
    assert (code, "TIDEMARK_SYMBOL_LIMITS" in errors) == (1, True)
    code, _, errors = call(**{FILE_VARIABLE: str(tmp_path / "missing.env")})
    assert (code, "missing.env" in errors.replace("\n", "")) == (1, True)


def test_config_when_a_variable_is_misspelt_then_it_is_named(file: Path) -> None:
    _, _, errors = call(TIDEMARK_KAFKA_BOOTSTRP="x", TIDEMARK_STATE_DIR="x", **{FILE_VARIABLE: str(file)})
    warned = [line.rpartition(" ")[2] for line in errors.splitlines() if "nothing reads" in line]
    assert warned == ["TIDEMARK_KAFKA_BOOTSTRP", "TIDEMARK_ORDR_QTY_MAX"]


def test_config_of_an_unknown_service_then_the_known_are_named() -> None:
    code, _, errors = call("rsk")
    assert code == 2
    assert "signals" in errors
