"""Writes ``docs/topics.md`` from the topic table.

uv run python -m common.contracts.topic_documentation
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from common.avro.codec import AvroFraming
from common.contracts.topics import DAY_MS, DEAD_LETTERS, READ_BY_STRANGERS, STAGE_INPUTS, TOPICS, Schema, Topic

FILE: Final = Path(__file__).parents[5] / "docs" / "topics.md"

_HEAD: Final = """# Topics

Generated from `libs/common/src/common/contracts/topics.py` by `make schemas`; a test keeps it current.
Every topic is created from that table and held to it (`topic_settings.py`, ADR 0030); `tidemark topics diff` shows what
differs.

Topics of one co-partition group have the same number of partitions, which is the deployment's: chosen with the group's
first topics (`tidemark topics create --partitions 48`, or `--partitions accounts=48`; the default is shown here), kept
on the cluster, and read at each start. From then on it is frozen: a stage serves nothing on another one (ADR 0049).
"""

_LAYOUTS: Final = {
    "tick-frame-1": ("layout-frame-header.v1", "layout-tick.v1"),
    "bars-1": ("layout-bar.v1",),
    "measured-1": ("layout-measured.v1",),
    "late-1": ("layout-late.v1",),
    "alerts-1": ("layout-alert.v1",),
    "depths-1": ("layout-depth.v1",),
    "marks-1": ("layout-mark.v1",),
}


def _retention(topic: Topic) -> str:
    if topic.cleanup == "compact":
        return "newest per key"
    return "for ever" if topic.retention_ms < 0 else f"{topic.retention_ms / DAY_MS:g} d"


def layouts_of(schema: Schema) -> tuple[str, ...]:
    """Names of the layouts that a binary value is made of; of other values none."""
    return tuple(file.rpartition(".v")[0] for file in _LAYOUTS.get(schema.name, ()))


def _schema(schema: Schema) -> str:
    files = _LAYOUTS.get(schema.name, (f"{schema.name}.v{schema.version}",) if schema.model else ())
    links = [f"[{file}](../libs/common/schemas/{file}.json)" for file in files]
    if isinstance(schema.framing, AvroFraming):
        links.append(f"[Avro](../libs/common/src/common/avro/schemas/{schema.framing.file})")
    return ", ".join(links) or f"`{schema.name}`"


def _partitions(topic: Topic) -> str:
    return f"{topic.partitions}, `{topic.group.name}`" if topic.group else str(topic.partitions)


def _table(topics: Iterable[Topic]) -> list[str]:
    rows = ["| topic | key | value | partitions | kept | owner | purpose |", "|---|---|---|---:|---|---|---|"]
    rows += [
        f"| `{topic.name}` | {topic.key} | {_schema(topic.schema)} | {_partitions(topic)} | {_retention(topic)} "
        f"| {', '.join(topic.writers)} | {topic.purpose} |"
        for topic in topics
    ]
    return rows


def render() -> str:
    """The whole page."""
    changelogs = [topic for topic in TOPICS if topic.schema.name == "changelog"]
    messages = [topic for topic in TOPICS if topic not in changelogs]
    dead = [f"- `{topic.dead_letters}`" for topic in STAGE_INPUTS]
    looser = ", ".join(f"`{topic.name}`" for topic in TOPICS if topic.compatibility == READ_BY_STRANGERS)
    sections = [
        _HEAD,
        "## Messages\n",
        *_table(messages),
        "\nEvery version of an Avro schema reads every other one (FULL_TRANSITIVE); of these each reads those before "
        f"it (BACKWARD_TRANSITIVE): {looser}.",
        "\n## Changelogs\n\nRows and input positions of a stage; written in the same transaction as its outputs.\n",
        *_table(changelogs),
        "\n## Dead letters\n",
        "What a stage cannot handle is set aside with its own key and headers, and with where it stood and why. In the "
        f"format `avro` a letter is one record with value and context, {_schema(DEAD_LETTERS)}; in the format `json` "
        "it is the value as it was, with stage, topic, partition, offset and error in headers `dlq.*` (ADR 0053):\n",
        *dead,
    ]
    return "\n".join(sections) + "\n"


def main() -> int:
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(render(), "utf-8")
    sys.stdout.write(f"wrote {FILE.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
