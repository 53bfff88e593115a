"""A process that cannot begin: one line that names the variable and no value, and status 1."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import SecretStr
from streams.kafka.security import client_security
from streams.process.settings import Settings
from streams.process.settings_tree import NAMELESS, SettingsGroup
from streams.process.start import starting


class Shop(SettingsGroup):
    kind: Annotated[Literal["", "books"], NAMELESS] = ""
    open: bool = False


class Ours(Settings):
    """With a setting of each kind that may be wrong in its own way."""

    shop: Shop = Shop()
    password: SecretStr = SecretStr("")
    count: int = 1
    names: tuple[str, ...] = ()


def line_of(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended, starting("ours", Ours):
        client_security(Ours().kafka)
    text: Any = ended.value.code  # what Python prints before it ends with 1
    assert isinstance(text, str) and "\n" not in text
    return text


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"TIDEMARK_COUNT": "hunter2"}, ["ours refuses", "TIDEMARK_COUNT", "valid integer"]),
        (
            {"TIDEMARK_COUNT": "x", "TIDEMARK_REQUEST_TIMEOUT_MS": "y"},
            ["TIDEMARK_COUNT", "TIDEMARK_REQUEST_TIMEOUT_MS"],
        ),
        ({"TIDEMARK_NAMES": "[hunter2"}, ["ours cannot read", "TIDEMARK_NAMES"]),
        ({"TIDEMARK_SHOP": "hunter2", "TIDEMARK_SHOP_OPEN": "hunter2"}, ["TIDEMARK_SHOP: ", "TIDEMARK_SHOP_OPEN: "]),
        (
            {"TIDEMARK_KAFKA_SASL_MECHANISM": "PLAIN"},
            ["ours refuses", "TIDEMARK_KAFKA_SASL_*: ", "_USERNAME and _PASSWORD_FILE"],
        ),
        ({"TIDEMARK_KAFKA_SASL_MECHANISM": "PLAIN", "TIDEMARK_KAFKA_SASL_USERNAME": "risk"}, ["_PASSWORD_FILE"]),
        ({"TIDEMARK_SETTINGS_FILE": "/nowhere/ours.env"}, ["ours cannot begin", "/nowhere/ours.env"]),
        ({"TIDEMARK_KAFKA_CA_FILE": "/nowhere/ca.pem"}, ["ours cannot begin", "No such file", "/nowhere/ca.pem"]),
    ],
    ids=["number", "two", "no JSON", "in a group", "together", "no password", "file", "authority"],
)
def test_settings_when_wrong_then_one_line_that_names_them_and_no_value(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], words: list[str]
) -> None:
    text = line_of(monkeypatch, environment)
    assert all(word in text for word in words), text
    assert "hunter2" not in text


def test_certificate_when_it_is_none_then_its_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    assert "junk.pem: " in line_of(monkeypatch, {"TIDEMARK_KAFKA_CA_FILE": str(junk)})


def test_settings_when_right_then_nothing_is_said() -> None:
    with starting("ours", Ours):
        assert client_security(Ours().kafka) == {}
