"""Whether releases fit to one another: pure comparisons of manifests.

Two services fit where each reads what the other writes. Two releases of one service run side by side, partitions going
back and forth, where each also reads what all others write today and the state that the other keeps.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from common.contracts.schemas import Contract, problems

from tidemark.releases.manifest import Manifest

ROWS: Final = "rows-"
COLUMNS: Final = "columns-"
SNAPSHOT: Final = "snapshot-"
STATE: Final = (ROWS, SNAPSHOT)
Document = Mapping[str, Any]


def unread(writer: Manifest, reader: Manifest) -> Iterator[str]:
    """Messages of the writer that the reader is there to read, but cannot. Its own state is another matter."""
    for name, version in writer.writes.items():
        if writer.service == reader.service and name.startswith(STATE):
            continue
        versions = reader.reads.get(name)
        if versions is not None and version not in versions:
            yield (
                f"{writer.service} {writer.version} writes {name} v{version}, {reader.service} {reader.version} reads "
                f"{_versions(versions)}"
            )


def misfits(coming: Iterable[Manifest], staying: Iterable[Manifest]) -> tuple[str, ...]:
    """Why releases may not be put among services that stay as they are; they come together."""
    coming, staying = tuple(coming), tuple(staying)
    found: list[str] = []
    for one in coming:
        for other in (*staying, *coming):
            if one.service != other.service:
                found += [*unread(one, other), *(unread(other, one) if other in staying else ())]
    return tuple(dict.fromkeys(found))


def changes(released: Manifest, now: Manifest) -> tuple[str, ...]:
    """Differences from the release of the same version."""
    found = [
        f"{verb} {name} {_said(after.get(name))}, was {_said(before.get(name))}"
        for verb, before, after in (("reads", released.reads, now.reads), ("writes", released.writes, now.writes))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    files = released.contracts.keys() | now.contracts.keys()
    changed = sorted(stem for stem in files if released.contracts.get(stem) != now.contracts.get(stem))
    return (*found, *(f"{stem}.json is not as it was" for stem in changed))


def broken(
    before: Manifest, now: Manifest, current: Mapping[str, Contract], document_of: Callable[[str], Document]
) -> tuple[str, ...]:
    """Contracts of the release before that were changed under their own version in a way that a reader notices.

    ``document_of`` reads a contract as it was released, by its blob id.
    """
    found: list[str] = []
    for stem, blob in before.contracts.items():
        if now.contracts.get(stem, blob) == blob:
            continue
        name, _, version = stem.rpartition(".v")
        contract = current.get(name)
        if contract is None or contract.version != int(version):
            found.append(f"{stem}.json: the file of an earlier version was changed")
            continue
        found += [f"{stem}: {reason}" for reason in problems(contract, {contract.version: document_of(blob)})]
    return tuple(found)


def lost_state(before: Manifest, now: Manifest) -> tuple[str, ...]:
    """Rows that the release before has written and this one cannot read; snapshots are made anew instead."""
    return tuple(
        f"{now.service} {now.version} cannot read {name} v{version}, which {before.version} writes: add a migration"
        for name, version in before.writes.items()
        if name.startswith(ROWS) and version not in now.reads.get(name, ())
    )


def side_by_side(older: Manifest, newer: Manifest, others: Iterable[Manifest]) -> tuple[str, ...]:
    """Why two releases of one service may not share its partitions beside these others. Empty: they may."""
    found: list[str] = []
    for other in others:
        for one in (older, newer):
            found += [*unread(other, one), *unread(one, other)]
    for writer, reader in ((older, newer), (newer, older)):
        found += [
            f"{reader.service} {reader.version} cannot read {name} v{version} of {writer.version}"
            for name, version in writer.writes.items()
            if name.startswith(ROWS) and version not in reader.reads.get(name, ())
        ]
        found += unread(writer, reader)
    return tuple(dict.fromkeys(found))


def _said(value: int | tuple[int, ...] | None) -> str:
    if value is None:
        return "nothing"
    return f"v{value}" if isinstance(value, int) else _versions(value)


def _versions(versions: tuple[int, ...]) -> str:
    return f"v{versions[0]}" if len(versions) == 1 else f"v{versions[0]} to v{versions[-1]}"
