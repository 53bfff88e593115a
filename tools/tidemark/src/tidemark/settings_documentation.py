"""Writes ``docs/settings.md`` from the settings classes of the services.

uv run python -m tidemark.settings_documentation
"""

import json
import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Final

from pydantic.fields import FieldInfo
from streams.process.settings_tree import Place

from tidemark.settings_table import CLASSES, OTHERS, SHARED, is_secret, own

FILE: Final = Path(__file__).parents[4] / "docs" / "settings.md"

_HEAD: Final = """# Settings

Generated from the settings classes by `make schemas`; a test keeps it current. Each setting is an environment variable;
`TIDEMARK_SETTINGS_FILE` may name a file of lines `NAME=value` for those that the environment does not have. Headings
name groups of them, by their place in code: what `settings.kafka.ca_file` has is `TIDEMARK_KAFKA_CA_FILE`.
`tidemark config` shows the values that hold in a shell and where each comes from.
"""


def _default(field: FieldInfo) -> str:
    if is_secret(field):
        return "(hidden)"
    if field.default_factory is not None:
        return "(this machine's)"
    value = field.default
    if value is None or value in ("", (), {}):
        return "(none)"
    return f"`{_cell(value if isinstance(value, str) else json.dumps(value))}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _tables(service: str) -> Iterator[str]:
    """A table for the settings without a group, which come first, and one for each group."""
    by_group: dict[tuple[str, ...], list[Place]] = {(): []}
    for place in own(service):
        by_group.setdefault(place.path[:-1], []).append(place)
    for path, members in by_group.items():
        if not members:
            continue
        heading = f"\n### {service}: {'.'.join(path)}\n\n{cleandoc(members[0].group.__doc__ or '')}\n"
        yield heading if path else ""
        yield "| variable | default | meaning |"
        yield "|---|---|---|"
        for place in members:
            yield f"| `{place.variable}` | {_default(place.field)} | {_cell(place.field.description or '')} |"


def render() -> str:
    """The whole page."""
    lines = [_HEAD]
    for service in CLASSES:
        lines += [
            f"## {service[0].upper()}{service[1:]}" if service == SHARED else f"\n## {service}",
            *_tables(service),
        ]
    lines += ["\n## Beside the settings\n", "| variable | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {about} |" for name, about in OTHERS.items()]
    return "\n".join(lines) + "\n"


def main() -> int:
    FILE.write_text(render(), "utf-8")
    sys.stdout.write(f"wrote {FILE.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
