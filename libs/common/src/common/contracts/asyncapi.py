"""Writes ``docs/asyncapi.json``, the topic table as an AsyncAPI 3 document, with every schema in it.

uv run python -m common.contracts.asyncapi
"""

import json
import sys
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import TypeAdapter

from common.contracts.topics import STAGE_INPUTS, TOPICS, Schema, Topic, with_dead_letters

FILE: Final = Path(__file__).parents[5] / "docs" / "asyncapi.json"
VERSION: Final = "1.0.0"
"""The document's own; each message names the version of its schema."""
KAFKA_BINDING: Final = "0.5.0"
_SCHEMAS: Final = "#/components/schemas/"

_INFO: Final = {
    "title": "Tidemark",
    "version": VERSION,
    "description": (
        "Topics of the fleet. Generated from the topic table by `make schemas`. Records are written in transactions: "
        "read them with `isolation.level=read_committed`."
    ),
    "license": {"name": "Apache-2.0"},
}
_SERVERS: Final = {"local": {"host": "127.0.0.1:9092", "protocol": "kafka", "description": "a broker on this machine"}}
_JSON: Final = "application/json"
_BINARY: Final = "application/octet-stream"


def _identifier(text: str) -> str:
    """A name as AsyncAPI's maps allow it, and as a JSON pointer needs no escape for it."""
    return text.replace(".", "_")


def _plain(schema: Any) -> Any:
    """The schema without ``discriminator``, which AsyncAPI understands otherwise: constants tell as much."""
    if isinstance(schema, dict):
        return {key: _plain(value) for key, value in schema.items() if key != "discriminator"}
    return [_plain(each) for each in schema] if isinstance(schema, list) else schema


def _payload(schema: Schema, json_schemas: dict[str, Any]) -> Any:
    if schema.model is not None:
        return json_schemas[schema.name]
    return {"type": "string", "format": "binary", "description": f"binary: {schema.name}, see docs/topics.md"}


def _message(schema: Schema, json_schemas: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": schema.name,
        "title": f"{schema.name}, version {schema.version}",
        "contentType": _BINARY if schema.model is None else _JSON,
        "payload": _payload(schema, json_schemas),
    }


def _channel(topic: Topic) -> dict[str, Any]:
    configuration = {"cleanup.policy": [topic.cleanup], "retention.ms": topic.retention_ms, **dict(topic.config)}
    message = _identifier(topic.schema.name)
    return {
        "address": topic.name,
        "description": f"{topic.purpose}. Key: {topic.key}. Owner: {topic.owner}.",
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": configuration,
                "bindingVersion": KAFKA_BINDING,
            }
        },
    }


def _operation(topic: Topic, action: str, summary: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{_identifier(topic.name)}"}, "summary": summary}


def document() -> dict[str, Any]:
    """The whole document."""
    topics = with_dead_letters(TOPICS)
    schemas = {topic.schema.name: topic.schema for topic in topics}
    adapters: list[tuple[str, Literal["validation"], TypeAdapter[Any]]] = [
        (name, "validation", schema.model) for name, schema in schemas.items() if schema.model is not None
    ]
    found, shared = TypeAdapter.json_schemas(adapters, ref_template=f"{_SCHEMAS}{{model}}")
    json_schemas = {name: _plain(schema) for (name, _), schema in found.items()}
    operations = {f"write_{_identifier(t.name)}": _operation(t, "send", f"by {', '.join(t.writers)}") for t in topics}
    operations |= {f"read_{_identifier(t.name)}": _operation(t, "receive", "a stage reads it") for t in STAGE_INPUTS}
    return {
        "asyncapi": "3.0.0",
        "info": _INFO,
        "servers": _SERVERS,
        "defaultContentType": _JSON,
        "channels": {_identifier(topic.name): _channel(topic) for topic in topics},
        "operations": operations,
        "components": {
            "messages": {_identifier(name): _message(schema, json_schemas) for name, schema in schemas.items()},
            "schemas": _plain(shared.get("$defs", {})),
        },
    }


def render() -> str:
    """The file's content."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    FILE.write_text(render(), "utf-8")
    sys.stdout.write(f"wrote {FILE.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
