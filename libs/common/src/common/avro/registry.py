"""Other writers' schemas, by id: kept in memory and on disk, asked for at a registry (Confluent's API).

What was learnt once is there without the registry, at the next start, too. Whoever finds none anywhere waits: see
``streams.state.framed_reader``.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from streams.model.framing import SchemaUnknown
from streams.process.settings import Settings

CACHE: Final = "schemas"
"""Directory of ``data_dir``; a file per id."""
TIMEOUT_S: Final = 3.0
SCHEMAS_MAX: Final = 10_000
"""Schemas that a process keeps; whoever names more of them is no writer of ours."""


class Schemas:
    """One for a process, since ids mean the same in all of it. The registry is asked only for what nobody knows."""

    def __init__(self) -> None:
        self._known: dict[int, Any] = {}

    def known(self, schema_id: int) -> Any | None:
        """The schema, if it was learnt."""
        return self._known.get(schema_id)

    def take(self, schemas: Mapping[int, Any]) -> None:
        """Takes schemas that were had otherwise."""
        self._known.update(schemas)

    async def learn(self, schema_id: int, settings: Settings) -> None:
        """Raises SchemaUnknown, with what is known of why."""
        schema = _cached(schema_id, settings)
        if schema is None:
            text = await _asked(schema_id, settings)
            try:
                schema = json.loads(text)
            except ValueError as error:
                raise SchemaUnknown(schema_id, f"what the registry has is no JSON: {error}") from error
            _keep(schema_id, text, settings)
        if len(self._known) >= SCHEMAS_MAX:
            self._known.clear()
        self._known[schema_id] = schema


SCHEMAS: Final = Schemas()


def _path(schema_id: int, settings: Settings) -> Path:
    return settings.data_dir / CACHE / f"{schema_id}.avsc"


def _cached(schema_id: int, settings: Settings) -> Any | None:
    """None where there is none, or what is there was damaged."""
    try:
        return json.loads(_path(schema_id, settings).read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _keep(schema_id: int, text: str, settings: Settings) -> None:
    """Whole or not at all; where the disk takes nothing, the next process has to ask again."""
    path = _path(schema_id, settings)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}.new")
        new.write_text(text, "utf-8")
        new.replace(path)


async def _asked(schema_id: int, settings: Settings) -> str:
    url = settings.schema_registry_url
    if not url:
        raise SchemaUnknown(schema_id, "not on file, and TIDEMARK_SCHEMA_REGISTRY_URL names no registry")
    import httpx  # most processes never ask

    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
            answer = await client.get(f"{url.rstrip('/')}/schemas/ids/{schema_id}")
    except httpx.HTTPError as error:
        raise SchemaUnknown(schema_id, f"not on file, and the registry {url} does not answer: {error!r}") from error
    if answer.status_code == httpx.codes.NOT_FOUND:
        raise SchemaUnknown(schema_id, f"neither on file nor in the registry {url}")
    try:
        return str(answer.raise_for_status().json()["schema"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise SchemaUnknown(schema_id, f"the registry {url} answered {answer.status_code}: {error!r}") from error
