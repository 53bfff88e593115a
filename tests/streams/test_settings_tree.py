"""Settings as a tree: a variable is named by its place; a value is the caller's, the environment's or the file's."""

import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field, SecretStr, ValidationError
from streams.process.settings import KafkaSettings, SaslSettings, Settings
from streams.process.settings_tree import (
    FILE_VARIABLE,
    NAMELESS,
    SettingsGroup,
    SettingsTree,
    places,
    variable_at,
)

MADE = iter(range(1, 1_000))


class Till(SettingsGroup):
    number: int = 1
    word: SecretStr = SecretStr("")
    made: list[int] = Field(default_factory=lambda: [next(MADE)])


class Shop(SettingsGroup):
    name: Annotated[str, NAMELESS] = "corner"
    street: str = "High Street"
    prices: dict[str, int] = Field(default={})
    till: Till = Till(made=[0])


class Rules(SettingsGroup):
    age_min: int = 16


class Ours(SettingsTree):
    shop: Shop = Shop()
    rules: Annotated[Rules, NAMELESS] = Rules()
    log_level: str = "INFO"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "settings.env"
    monkeypatch.setenv(FILE_VARIABLE, str(path))
    return path


def test_variable_when_its_setting_is_anywhere_then_named_by_the_place() -> None:
    assert {".".join(place.path): place.variable for place in places(Ours)} == {
        "shop.name": "TIDEMARK_SHOP",
        "shop.street": "TIDEMARK_SHOP_STREET",
        "shop.prices": "TIDEMARK_SHOP_PRICES",
        "shop.till.number": "TIDEMARK_SHOP_TILL_NUMBER",
        "shop.till.word": "TIDEMARK_SHOP_TILL_WORD",
        "shop.till.made": "TIDEMARK_SHOP_TILL_MADE",
        "rules.age_min": "TIDEMARK_AGE_MIN",
        "log_level": "TIDEMARK_LOG_LEVEL",
    }


def test_value_when_several_say_it_then_the_caller_goes_before_environment_and_file_setting_by_setting(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("TIDEMARK_SHOP=file\nTIDEMARK_SHOP_STREET=file\nTIDEMARK_SHOP_TILL_NUMBER=3\ntidemark_age_min=17\n")
    monkeypatch.setenv("TIDEMARK_SHOP", "environment")
    monkeypatch.setenv("TIDEMARK_SHOP_STREET", "environment")
    monkeypatch.setenv("TIDEMARK_SHOP_PRICES", json.dumps({"tea": 2}))
    monkeypatch.setenv("TIDEMARK_SHOP_TILL_WORD", "secret")
    ours = Ours(shop=Shop(name="caller"))
    assert (ours.shop.name, ours.shop.street, ours.shop.till.number) == ("caller", "environment", 3)
    assert (ours.shop.prices, ours.rules.age_min, ours.log_level) == ({"tea": 2}, 17, "INFO")
    assert ours.shop.till.word.get_secret_value() == "secret"
    assert Ours(shop=Shop(prices={"milk": 1})).shop.prices == {"milk": 1}, "a value is whole, and one source's"
    deep = Ours(shop=Shop(till=Till(number=8)))
    assert (deep.shop.name, deep.shop.till.number, deep.shop.till.word) == ("environment", 8, ours.shop.till.word)
    monkeypatch.delenv("TIDEMARK_SHOP_STREET")
    taken = Ours(shop=ours.shop).shop
    assert (taken.name, taken.street, taken.prices) == ("caller", "environment", {"tea": 2}), (
        "as the other settings had it"
    )


def test_variables_when_given_then_they_go_before_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_SHOP", "environment")
    monkeypatch.setenv("TIDEMARK_AGE_MIN", "18")
    ours = Ours.of({"TIDEMARK_SHOP": "given", "PATH": "anything"})
    assert (ours.shop.name, ours.rules.age_min) == ("given", 18)


def test_default_when_it_is_of_the_moment_then_made_for_each_settings() -> None:
    assert Ours().shop.till.made != Ours().shop.till.made


@pytest.mark.parametrize("more", [{"shop_stret": "x"}, {"shop": {"stret": "x"}}, {"shop": 3}])
def test_caller_when_he_names_no_setting_then_refused(more: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_SHOP_TILL_NUMBER", "2")
    with pytest.raises(ValidationError):
        Ours(**more)


def test_caller_when_he_names_settings_as_variables_are_named_then_they_are_in_their_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TIDEMARK_SHOP_STREET", "environment")
    flat: dict[str, Any] = {"shop_prices": {"tea": 2}, "shop": "caller", "shop_till_number": 3, "age_min": 18}
    ours = Ours(**flat, log_level="DEBUG")
    assert (ours.shop.name, ours.shop.prices, ours.shop.till.number) == ("caller", {"tea": 2}, 3)
    assert (ours.shop.street, ours.rules.age_min, ours.log_level) == ("environment", 18, "DEBUG")
    both: dict[str, Any] = {"shop": Shop(name="group"), "shop_till_number": 4}
    shop = Ours(**both).shop
    assert (shop.name, shop.street, shop.till.number) == ("group", "environment", 4)


def test_tree_when_two_places_come_to_one_name_then_no_such_class() -> None:
    with pytest.raises(TypeError, match=r"Two: shop\.till\.number and shop_till_number are both TIDEMARK_SHOP_TILL"):

        class Two(Ours):
            shop_till_number: int = 1

    with pytest.raises(TypeError, match="TIDEMARK_LOG_LEVEL"):

        class Nameless(Settings):
            rules: Annotated[Level, NAMELESS] = Level()


class Level(SettingsGroup):
    log_level: str = ""


@pytest.mark.parametrize(
    ("location", "name"),
    [
        (("kafka", "sasl", "mechanism"), "TIDEMARK_KAFKA_SASL_MECHANISM"),
        (("kafka", "sasl"), "TIDEMARK_KAFKA_SASL_*"),
        (("data_dir",), "TIDEMARK_DATA_DIR"),
        (("kafka", "port"), "kafka.port"),
        ((), "TIDEMARK_*"),
    ],
)
def test_error_when_it_names_a_place_then_that_is_a_variable(location: tuple[str, ...], name: str) -> None:
    assert variable_at(Settings, location) == name


def test_group_when_made_alone_then_it_needs_no_environment_and_is_judged_as_in_the_tree(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TIDEMARK_KAFKA_BOOTSTRAP", "elsewhere:1")
    assert KafkaSettings().bootstrap == "127.0.0.1:9092"
    with pytest.raises(ValidationError, match="_PASSWORD_FILE"):
        SaslSettings(mechanism="PLAIN")
