"""The one room that leans on private parts of aiokafka: they are there in the pinned release, as they were read."""

import ast
import inspect
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import aiokafka
import pytest
from streams.kafka.internals import PINNED, PRIVATE

ROOM: Final = "kafka/internals.py"
SIGNATURES: Final = {
    "_metadata_update": ["self", "cluster_metadata", "topics"],
    "_get_conn": ["self", "node_id", "group", "no_hint"],
    "_md_synchronizer": ["self"],
    "_do_heartbeat": ["self"],
    "ensure_active_group": ["self", "subscription", "prev_assignment"],
    "ensure_coordinator_known": ["self"],
    "fetch_committed_offsets": ["self", "partitions"],
    "request_rejoin": ["self"],
    "reset_generation": ["self"],
}
"""By release line of aiokafka: whoever pins another reads these anew, and what the room says of each."""


def test_aiokafka_when_it_is_installed_then_it_is_of_the_release_line_that_was_read(library: Path) -> None:
    assert aiokafka.__version__.startswith(f"{PINNED}.")
    declared = tomllib.loads((library / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    (pin,) = [each for each in declared["stage"] if each.startswith("aiokafka")]
    major, minor = PINNED.split(".")
    assert pin == f"aiokafka>={PINNED},<{major}.{int(minor) + 1}"


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, names in PRIVATE for name in names])
def test_private_part_when_looked_for_then_it_is_there_as_it_was_read(owner: type, name: str) -> None:
    found = getattr(owner, name, None)
    if found is None:  # of the instance
        sources = [inspect.getsource(each) for each in owner.__mro__ if each is not object]
        assert any(f"self.{name} = " in source or f"self.{name}: " in source for source in sources)
        return
    assert list(inspect.signature(found).parameters) == SIGNATURES[name]


def reaches(tree: ast.AST) -> Iterator[str]:
    """Private attributes of anything but the object itself, such as ``client._conns``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            yield f"{node.lineno}: {ast.unparse(node)}"


def test_private_parts_of_aiokafka_when_looked_for_then_only_one_room_names_them(library: Path) -> None:
    private = {name for _, names in PRIVATE for name in names if name.startswith("_")} - {"_client"}
    found = [
        f"{path.name}:{reach}"
        for path in (library / "src").rglob("*.py")
        if not path.as_posix().endswith(ROOM)
        for reach in reaches(ast.parse(path.read_text("utf-8")))
        if reach.rpartition(".")[2] in private and not reach.endswith(f": self.{reach.rpartition('.')[2]}")
    ]
    assert not found


def test_reach_when_it_is_planted_then_it_is_found() -> None:
    assert list(reaches(ast.parse("self._log._conns.clear()"))) == ["1: self._log._conns", "1: self._log"]
