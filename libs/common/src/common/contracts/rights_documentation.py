"""Writes ``docs/rights.md`` from the table of roles and rights.

uv run python -m common.contracts.rights_documentation
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from common.contracts.rights import (
    COMMAND_LINE,
    COMMANDS,
    ENDPOINTS,
    ROLES,
    SERVICES,
    SQL_IDENTITIES,
    SQL_RIGHTS,
    TOPIC_RIGHTS,
    VIEW_RIGHTS,
    VIEWS,
    Endpoint,
    Grants,
    Role,
    SqlRole,
)

FILE: Final = Path(__file__).parents[5] / "docs" / "rights.md"

_HEAD: Final = """# Roles and rights

Generated from `libs/common/src/common/contracts/rights.py` by `make schemas`; a test keeps it current, and others try
every cell ([ADR 70](adr/0070-one-table-of-roles-and-rights.md)). What is not granted is denied. `own`: for the accounts
that the identity names; of any other account the answer is that there is none, whether or not there is one.

## Roles

An identity may have several, and may do what any of them may.
"""
_COLUMNS: Final = "".join(f" {role} |" for role in Role)
_RULE: Final = ":---:|" * len(Role)


def _cells(grants: Grants) -> str:
    return "".join(f" {grants.get(role, '·')} |" for role in Role)


def _endpoints() -> Iterator[str]:
    yield f"| service | request |{_COLUMNS}"
    yield f"|---|---|{_RULE}"
    for endpoint in ENDPOINTS:
        if not endpoint.is_public:
            yield f"| {endpoint.service} | `{endpoint.method} {endpoint.path}` |{_cells(endpoint.grants)}"


def _public() -> Iterator[str]:
    by_path: dict[tuple[str, str], list[str]] = {}
    for endpoint in ENDPOINTS:
        if endpoint.is_public:
            by_path.setdefault(_request(endpoint), []).append(endpoint.service)
    yield "| request | services |"
    yield "|---|---|"
    for (method, path), services in by_path.items():
        yield f"| `{method} {path}` | {'every service' if len(services) == len(SERVICES) else ', '.join(services)} |"


def _request(endpoint: Endpoint) -> tuple[str, str]:
    return endpoint.method, endpoint.path


def _topics() -> Iterator[str]:
    yield "| topic | written by | read by |"
    yield "|---|---|---|"
    for name, rights in TOPIC_RIGHTS.items():
        yield f"| `{name}` | {', '.join(rights.writers)} | {', '.join(rights.readers)} |"


def _views() -> Iterator[str]:
    yield "| name | written by | read by |"
    yield "|---|---|---|"
    for pattern, rights in VIEW_RIGHTS.items():
        yield f"| `{pattern}` | {', '.join(rights.writers)} | {', '.join(rights.readers)} |"


def _tables() -> Iterator[str]:
    roles = [role for role in SqlRole if role is not SqlRole.OWNER]
    yield f"| table |{''.join(f' {role} |' for role in roles)}"
    yield f"|---|{'---|' * len(roles)}"
    for table, rights in SQL_RIGHTS.items():
        cells = (", ".join(sorted(rights[role])).lower() if role in rights else "·" for role in roles)
        yield f"| `{table}` | {' | '.join(cells)} |"


def render() -> str:
    """The whole page."""
    lines = [
        _HEAD,
        "| role | its holder |",
        "|---|---|",
        *(f"| `{role}` | {about} |" for role, about in ROLES.items()),
        "\n## HTTP and WebSocket\n",
        *_endpoints(),
        "\nAnswered without an identity:\n",
        *_public(),
        "\n## Commands\n\nWhat changes an account, beside the right to its request:\n",
        f"| command |{_COLUMNS}",
        f"|---|{_RULE}",
        *(f"| `{name}` |{_cells(grants)}" for name, grants in COMMANDS.items()),
        "\n## Views\n\nWhat a client of push may subscribe to:\n",
        f"| view |{_COLUMNS}",
        f"|---|{_RULE}",
        *(f"| `{name}` |{_cells(grants)}" for name, grants in VIEWS.items()),
        f"\n## Topics\n\nServices at the log; `{COMMAND_LINE}`, the operators' command, reads every topic.\n",
        *_topics(),
        "\n## Redis\n\nServices at hashes and channels, which have the same names. Of commands each has what it uses.\n"
        f"`{COMMAND_LINE}` reads all of them, and removes fields of `tm:writer:*` to have views written anew.\n",
        *_views(),
        "\n## PostgreSQL\n\nRoles at the tables of the projection. Certificates are the identities: "
        + "; ".join(f"`{holder}` may come as {', '.join(roles)}" for holder, roles in SQL_IDENTITIES.items())
        + f".\n`{SqlRole.OWNER}` owns all of it, and nobody else makes, alters or empties a table.\n",
        *_tables(),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    FILE.write_text(render(), "utf-8")
    sys.stdout.write(f"wrote {FILE.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
