"""Contracts on file: current, complete, and never broken without a version step."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from common.contracts import topic_documentation
from common.contracts.schemas import (
    Contract,
    IncompatibleContractError,
    contracts,
    export,
    problems,
    recorded_versions,
)
from common.contracts.topics import TOPICS

CURRENT = {contract.name: contract for contract in contracts()}


@pytest.mark.parametrize("name", CURRENT)
def test_contract_in_the_code_is_compatible_with_every_version_on_file(name: str) -> None:
    recorded = recorded_versions(name)
    assert CURRENT[name].version in recorded, "not on file: make schemas"
    assert problems(CURRENT[name], recorded) == (), "raise its version, or keep the contract"


@pytest.mark.parametrize("name", CURRENT)
def test_file_of_the_current_version_says_what_the_code_says(name: str) -> None:
    recorded = recorded_versions(name)
    assert recorded[CURRENT[name].version] == CURRENT[name].document, "out of date: make schemas"


def test_every_json_topic_has_its_schema_on_file() -> None:
    named = {topic.schema.name for topic in TOPICS if topic.schema.model is not None}
    assert named
    assert named <= CURRENT.keys()


def test_export_twice_then_the_second_changes_nothing(tmp_path: Path) -> None:
    assert len(export(tmp_path)) == len(CURRENT)
    assert export(tmp_path) == []


def message(version: int = 1, **properties: Any) -> Contract:
    document = {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": sorted(name for name, field in properties.items() if "default" not in field),
    }
    return Contract("message", version, "json", document)


INTEGER = {"type": "integer"}


def test_export_when_a_field_vanished_then_refused_and_nothing_written(tmp_path: Path) -> None:
    export(tmp_path, [message(a=INTEGER, b=INTEGER)])
    before = (tmp_path / "message.v1.json").read_bytes()
    with pytest.raises(IncompatibleContractError, match="raise the version"):
        export(tmp_path, [message(a=INTEGER)])
    assert (tmp_path / "message.v1.json").read_bytes() == before


def test_export_when_only_a_text_changed_then_the_file_follows(tmp_path: Path) -> None:
    export(tmp_path, [message(a=INTEGER)])
    assert export(tmp_path, [message(a={**INTEGER, "description": "shares"})]) == [tmp_path / "message.v1.json"]


def test_version_step_when_old_records_still_read_then_both_versions_stay_on_file(tmp_path: Path) -> None:
    export(tmp_path, [message(a=INTEGER)])
    export(tmp_path, [message(version=2, a=INTEGER, b={**INTEGER, "default": 0})])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["message.v1.json", "message.v2.json"]


def test_version_step_when_old_records_are_refused_then_refused_too(tmp_path: Path) -> None:
    export(tmp_path, [message(a=INTEGER)])
    with pytest.raises(IncompatibleContractError, match="records of version 1"):
        export(tmp_path, [message(version=2, b=INTEGER)])


def test_version_behind_the_file_then_refused(tmp_path: Path) -> None:
    export(tmp_path, [message(version=2, a=INTEGER)])
    with pytest.raises(IncompatibleContractError, match="older than the recorded version 2"):
        export(tmp_path, [message(version=1, a=INTEGER)])


@pytest.mark.parametrize("field", [field["name"] for field in CURRENT["layout-tick"].document["fields"]])
def test_layout_when_any_field_moves_then_refused(field: str) -> None:
    tick = CURRENT["layout-tick"]
    fields = [{**one, "offset": one["offset"] + (one["name"] == field)} for one in tick.document["fields"]]
    moved = dataclasses.replace(tick, document={**tick.document, "fields": fields})
    assert problems(moved, {tick.version: tick.document})


def test_topic_documentation_is_current() -> None:
    assert topic_documentation.FILE.read_text("utf-8") == topic_documentation.render(), "out of date: make schemas"
