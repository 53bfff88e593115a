"""Exports every contract to ``libs/common/schemas/<name>.v<version>.json`` and refuses to break one unnoticed.

    uv run python -m common.contracts.schemas

A file is the contract of that version for good. What may change without a version step is what no reader notices, in
either direction: texts. Everything else needs ``version`` raised in the topic table (or in ``LAYOUTS``, ``VIEWS``); the
older file stays beside the new one. A JSON message of a newer version must still read what stands in the log, so a step
may stop old readers (deploy readers first) but never the reading of old records: that takes a new topic. Only a version
that no release has written may be exported anew, without a step: remove its file first.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, TypeAdapter

from common.contracts import alerts, market, ticks, views
from common.contracts.compatibility import breaks, layout_changes, row_changes
from common.contracts.topics import TOPICS, with_dead_letters

DIRECTORY: Final = Path(__file__).parents[3] / "schemas"

LAYOUTS: Final[tuple[tuple[str, int, np.dtype[Any]], ...]] = (
    ("layout-tick", ticks.FRAME_VERSION, ticks.TICK),
    ("layout-frame-header", ticks.FRAME_VERSION, ticks.FRAME_HEADER),
    ("layout-bar", 1, market.BAR),
    ("layout-measured", 1, market.MEASURED),
    ("layout-session", 1, market.SESSION),
    ("layout-phase", 1, market.PHASE),
    ("layout-late", 1, market.LATE),
    ("layout-alert", 1, alerts.ALERT),
    ("layout-depth", 1, market.DEPTH),
    ("layout-mark", 1, market.MARK),
)
VIEWS: Final[tuple[tuple[str, int, type[BaseModel]], ...]] = (
    ("view-envelope", 1, views.Envelope),
    ("view-quote", 1, views.QuoteData),
    ("view-book", 1, views.BookData),
    ("view-bar", 1, views.BarData),
    ("view-alert", 1, views.AlertData),
    ("view-account", 1, views.AccountData),
    ("view-health", 1, views.HealthData),
)


class IncompatibleContractError(ValueError):
    """A contract changed in a way that a reader notices, and its version did not."""


@dataclass(frozen=True, slots=True)
class Contract:
    """One version of one contract; ``document`` is what the file holds."""

    name: str
    version: int
    kind: Literal["json", "layout", "rows"]
    document: Mapping[str, Any]

    @property
    def file_name(self) -> str:
        return f"{self.name}.v{self.version}.json"

    def text(self) -> str:
        """The file's content: sorted, so that the same contract is the same bytes."""
        return json.dumps(self.document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def describe_layout(dtype: np.dtype[Any]) -> dict[str, Any]:
    """Size in bytes and, for each field in order, its offset, its numpy type string and its repeat count."""
    fields = []
    for name in dtype.names or ():
        of, offset = dtype[name], ticks.offset_of(dtype, name)
        entry: dict[str, Any] = {"name": name, "offset": offset, "size": of.itemsize, "repeat": list(of.shape)}
        if of.base.names:
            entry["record"] = describe_layout(of.base)
        else:
            entry["type"] = of.base.str
        fields.append(entry)
    return {"size": dtype.itemsize, "byteorder": "little", "fields": fields}


def contracts() -> tuple[Contract, ...]:
    """Every contract as the code has it now: JSON messages of the topic table, views, binary layouts."""
    found: dict[str, Contract] = {}
    for topic in with_dead_letters(TOPICS):
        schema = topic.schema
        if schema.model is not None:
            found[schema.name] = Contract(schema.name, schema.version, "json", schema.model.json_schema())
    for name, version, model in VIEWS:
        found[name] = Contract(name, version, "json", TypeAdapter(model).json_schema())
    for name, version, dtype in LAYOUTS:
        found[name] = Contract(name, version, "layout", describe_layout(dtype))
    return tuple(found[name] for name in sorted(found))


def problems(contract: Contract, recorded: Mapping[int, Mapping[str, Any]]) -> tuple[str, ...]:
    """Why ``contract`` may not stand beside the ``recorded`` documents of its versions. Empty: it may."""
    found: list[str] = []
    if any(version > contract.version for version in recorded):
        found.append(f"version {contract.version} is older than the recorded version {max(recorded)}")
    same = recorded.get(contract.version)
    if contract.kind == "layout":
        found.extend(layout_changes(same, contract.document) if same else ())
        return tuple(found)
    if contract.kind == "rows":  # records of older versions are what migrations are for
        found.extend(row_changes(same, contract.document) if same else ())
        return tuple(found)
    if same:
        found.extend(f"old readers: {reason}" for reason in breaks(contract.document, same))
    for version, document in sorted(recorded.items()):
        found.extend(f"records of version {version}: {reason}" for reason in breaks(document, contract.document))
    return tuple(found)


def recorded_versions(name: str, directory: Path = DIRECTORY) -> dict[int, dict[str, Any]]:
    """The documents on record for one contract, by version."""
    files = directory.glob(f"{name}.v*.json")
    return {int(file.stem.rpartition(".v")[2]): json.loads(file.read_text("utf-8")) for file in files}


def export(directory: Path = DIRECTORY, of: Iterable[Contract] | None = None) -> list[Path]:
    """Writes the files that differ and returns them. Raises IncompatibleContractError before anything is written."""
    current = tuple(of) if of is not None else contracts()
    refused = [
        f"{contract.file_name}: {problem}"
        for contract in current
        for problem in problems(contract, recorded_versions(contract.name, directory))
    ]
    if refused:
        raise IncompatibleContractError("raise the version, or keep the contract:\n  " + "\n  ".join(refused))
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for contract in current:
        file = directory / contract.file_name
        if not file.exists() or file.read_text("utf-8") != contract.text():
            file.write_text(contract.text(), "utf-8")
            written.append(file)
    return written


def main() -> int:
    """Exports; the exit status is 1 where a contract was broken."""
    try:
        written = export()
    except IncompatibleContractError as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    for file in written:
        sys.stdout.write(f"wrote {file.name}\n")
    sys.stdout.write(f"{len(contracts())} contracts, {len(written)} files changed\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
