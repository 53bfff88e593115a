"""Writes ``docs/settings.md`` from the settings classes of the services.

uv run python -m tidemark.settings_documentation
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from pydantic.fields import FieldInfo
from streams.process.start import variable

from tidemark.settings_table import CLASSES, OTHERS, SHARED, is_secret, own

FILE: Final = Path(__file__).parents[4] / "docs" / "settings.md"
GROUP_MIN: Final = 3
"""As many settings that begin with the same word make a table of their own."""

_HEAD: Final = """# Settings

Generated from the settings classes by `make schemas`; a test keeps it current. Each setting is an environment variable;
`TIDEMARK_SETTINGS_FILE` may name a file of lines `NAME=value` for those that the environment does not have.
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


def _groups(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by their first word, in their order; those whose word is too rare come first, under an empty one."""
    names = list(names)
    often = Counter(name.partition("_")[0] for name in names)
    groups: dict[str, list[str]] = {"": []}
    for name in names:
        word = name.partition("_")[0]
        groups.setdefault(word if often[word] >= GROUP_MIN else "", []).append(name)
    return groups


def _tables(service: str) -> Iterator[str]:
    settings = CLASSES[service]
    declared = own(service)
    for word, names in _groups(name for name in settings.model_fields if name in declared).items():
        if not names:
            continue
        yield "" if not word else f"\n### {service}: {word}\n"
        yield "| variable | default | meaning |"
        yield "|---|---|---|"
        for name in names:
            field = settings.model_fields[name]
            yield f"| `{variable(name)}` | {_default(field)} | {_cell(field.description or '')} |"


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
