"""The record of who lets whom in: every change of people, keys and revocations, in a chain."""

import getpass
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from common.contracts.rights import Role
from tidemark.commands.access import access as access_command
from tidemark.errors import CommandError
from tidemark.issuer.changes import What
from tidemark.issuer.store import AccessStore, Person
from typer.testing import CliRunner


@pytest.fixture
def store(tmp_path: Path) -> AccessStore:
    made = AccessStore(tmp_path / "access")
    made.prepare()
    return made


def run(*arguments: str) -> Any:
    return CliRunner().invoke(access_command, list(arguments))


def test_changes_then_each_is_recorded_by_whom_with_the_roles_and_without_accounts(store: AccessStore) -> None:
    where = ("--state-dir", str(store.directory.parent))
    assert run("people", "put", "bob", "--role", "trader", "--account", "ACC9", *where).exit_code == 0
    name, _ = store.make_api_key("loader", [Role.OPERATOR], ["A*"], 600)
    store.remove_api_key(name)
    store.rotate()
    store.remove_person("bob")
    with pytest.raises(CommandError):
        store.remove_person("bob")
    found = store.record.read()
    assert [(each.what, each.subject, each.roles) for each in found.changes][-6:] == [
        (What.PERSON_PUT, "bob", [Role.TRADER]),
        (What.KEY_MADE, "loader", [Role.OPERATOR]),
        (What.KEY_REMOVED, "loader", []),
        (What.SIGNING_ROTATED, "", []),
        (What.PERSON_REMOVED, "bob", []),
        (What.SUBJECT_REVOKED, "bob", []),
    ]
    assert {each.by for each in found.changes} == {f"{getpass.getuser()}@{socket.gethostname()}"}
    assert (found.broken_line, found.head.seq) == (0, len(found.changes))
    assert "ACC9" not in store.record.lines.read_text("utf-8")
    listed = run("changes", *where)
    assert (listed.exit_code, found.head.chain in listed.stdout, "person removed" in listed.stdout) == (0, True, True)


@pytest.mark.parametrize("fault", ["altered", "dropped", "moved", "invented"])
def test_record_of_changes_when_it_is_not_what_was_written_then_the_line_is_named(
    store: AccessStore, fault: str
) -> None:
    for number in range(4):
        store.deny_subject(f"s{number}")
    lines = store.record.lines.read_bytes().splitlines(keepends=True)
    first = len(lines) - 3  # of the four the second, whose line has this index
    if fault == "altered":
        lines[first] = lines[first].replace(b"subject revoked", b"person removed")
    elif fault == "dropped":
        del lines[first]
    elif fault == "moved":
        lines[first], lines[first + 1] = lines[first + 1], lines[first]
    else:
        lines[first] = b'{"change": "{}", "chain": ""}\n'
    store.record.lines.write_bytes(b"".join(lines))
    assert store.record.read().broken_line == first + 1
    assert run("changes", "--state-dir", str(store.directory.parent)).exit_code == 1


def test_record_of_changes_when_a_line_was_not_written_whole_then_the_next_takes_its_place(store: AccessStore) -> None:
    store.deny_subject("ann")
    whole = store.record.lines.read_bytes()
    store.record.lines.write_bytes(whole + b'{"change": "{')
    store.deny_subject("bob")
    found = store.record.read()
    assert (found.broken_line, found.changes[-1].subject) == (0, "bob")
    assert store.record.lines.read_bytes().startswith(whole)


def test_holder_when_forgotten_then_the_record_is_whole_and_names_him_no_more(store: AccessStore) -> None:
    store.put_person("carl", Person(roles=[Role.TRADER], accounts=["ACC1"]))
    before = store.record.read()
    store.forget("ACC1")
    found = store.record.read()
    assert found.broken_line == 0
    assert len(found.changes) > len(before.changes)
    assert "carl" in {each.subject for each in before.changes}
    assert "carl" not in {each.subject for each in found.changes}
    for path in store.directory.iterdir():
        if path != store.denied:  # what was issued to him has to stay void
            assert "carl" not in path.read_text("utf-8"), path.name
    store.put_person("carl", Person(roles=[Role.TRADER], accounts=["ACC2"]))
    assert [each.subject for each in store.record.read().changes].count("carl") == 1, "another one of that name"


def test_changes_when_many_make_them_at_once_then_none_is_lost_and_the_chain_is_whole(store: AccessStore) -> None:
    count, hands = 20, 8
    before = len(store.record.read().changes)

    def put(hand: int) -> None:
        for number in range(count):
            AccessStore(store.directory).put_person(f"p{hand}-{number}", Person(roles=[Role.AUDITOR]))

    with ThreadPoolExecutor(hands) as pool:
        list(pool.map(put, range(hands)))
    found = store.record.read()
    assert (found.broken_line, len(found.changes) - before) == (0, count * hands)
    assert len([name for name in store.everybody() if name.startswith("p")]) == count * hands
