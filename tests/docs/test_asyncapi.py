"""The AsyncAPI document: current, valid by AsyncAPI's own schema, and complete."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from common.contracts import asyncapi
from common.contracts.topics import STAGE_INPUTS, TOPICS, with_dead_letters
from common.testing.orders import intent

PUBLISHED = Path(__file__).parent / "specs/node_modules/@asyncapi/specs/schemas/3.0.0-without-$id.json"


@pytest.fixture(scope="module")
def document() -> Any:
    return json.loads(asyncapi.FILE.read_text("utf-8"))


@pytest.fixture(scope="module")
def published() -> Any:
    assert PUBLISHED.is_file(), "`make pytest` fetches AsyncAPI's schema; make " + str(PUBLISHED.parents[3])
    return jsonschema_rs.validator_for(json.loads(PUBLISHED.read_text("utf-8")))


def test_document_is_current() -> None:
    assert asyncapi.FILE.read_text("utf-8") == asyncapi.render(), "out of date: make schemas"


def test_document_is_valid_by_the_published_schema(document: Any, published: Any) -> None:
    assert [f"{error.instance_path}: {error}" for error in published.iter_errors(document)] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("operations", "write_md_ticks", "action"), "shout"),
        (("channels", "md_ticks", "bindings", "kafka", "partitions"), 0),
        (("info", "version"), None),
    ],
)
def test_published_schema_when_something_is_wrong_then_refuses(
    document: Any, published: Any, path: tuple[str, ...], value: Any
) -> None:
    wrong = json.loads(json.dumps(document))
    place = wrong
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    assert not published.is_valid(wrong)


def test_every_topic_is_a_channel_and_says_who_writes_and_reads_it(document: Any) -> None:
    assert {channel["address"] for channel in document["channels"].values()} == {
        topic.name for topic in with_dead_letters(TOPICS)
    }
    addresses = {f"#/channels/{name}": channel["address"] for name, channel in document["channels"].items()}
    received = {
        addresses[operation["channel"]["$ref"]]
        for operation in document["operations"].values()
        if operation["action"] == "receive"
    }
    assert received == {topic.name for topic in STAGE_INPUTS}


def test_every_reference_leads_somewhere(document: Any) -> None:
    def references(node: Any) -> list[str]:
        nested = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        own = [node["$ref"]] if isinstance(node, dict) and isinstance(node.get("$ref"), str) else []
        return own + [found for inner in nested for found in references(inner)]

    found = references(document)
    assert found
    for reference in found:
        place = document
        for name in reference.removeprefix("#/").split("/"):
            assert name in place, reference
            place = place[name]


def test_message_when_written_then_its_payload_in_the_document_takes_it(document: Any) -> None:
    payload = {**document["components"]["messages"]["order-intent"]["payload"], "components": document["components"]}
    validator = jsonschema_rs.validator_for(payload)
    assert validator.is_valid(intent().model_dump(mode="json", exclude_none=True))
    assert not validator.is_valid({"account_id": 7})
