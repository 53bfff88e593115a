"""``tidemark schemas check``: what versions of a subject are held to, said in one line that names field and rule."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from common.avro.codec import AvroFraming
from common.avro.derive import without_texts
from common.avro.on_file import DIRECTORY, INDEX, read_index
from common.contracts.topics import ORDERS_INTENTS
from tidemark.commands.schemas import schemas
from tidemark.schema_rules import incompatibilities
from typer.testing import CliRunner

RUNNER = CliRunner()


def call(*words: str) -> tuple[int, str]:
    result = RUNNER.invoke(schemas, [*words])
    return result.exit_code, result.stderr


def test_schemas_of_this_release_when_checked_then_compatible_with_every_version_on_file() -> None:
    assert call("check") == (0, f"{len(read_index())} schemas, each compatible with every version of its subject\n")


def schema_of(file: str) -> Any:
    return json.loads((DIRECTORY / file).read_text("utf-8"))


def fields_of(schema: Any, record: str) -> dict[str, Any]:
    members = schema if isinstance(schema, list) else [schema]
    found = next(member for member in members if member["name"] == record)
    return {field["name"]: field for field in found["fields"]} | {"@": found["fields"]}


Change = Callable[[dict[str, Any]], Any]
NEEDS_DEFAULT = "a field that not every version has needs a default"
KEEPS_TYPE = "a field keeps its type"


@pytest.mark.parametrize(
    ("file", "record", "change", "place", "rule"),
    [
        ("order-intent.v1", "OrderIntent", lambda of: of["@"].append({"name": "desk", "type": "string"}),
         "OrderIntent.desk", NEEDS_DEFAULT),
        ("order-intent.v1", "OrderIntent", lambda of: of["@"].remove(of["qty"]), "OrderIntent.qty", NEEDS_DEFAULT),
        ("order-intent.v1", "OrderIntent", lambda of: of["qty"].update(type="string"), "OrderIntent.qty", KEEPS_TYPE),
        ("order-intent.v1", "OrderIntent", lambda of: of["order_type"]["type"]["symbols"].append("STOP"),
         "OrderIntent.order_type", "a symbol that not every version knows needs a default of the enum"),
        ("risk-decision.v2", "Decision", lambda of: of["account_seq"].update(type="string"),
         "Decision.account_seq", KEEPS_TYPE),
        ("risk-decision.v2", "Decision", lambda of: of["intent"]["type"]["fields"].append(
            {"name": "desk", "type": "string"}), "Decision.intent.desk", NEEDS_DEFAULT),
        ("ledger-entry.v3", "LedgerEntry", lambda of: of["postings"]["type"]["items"]["fields"][2].update(type="int"),
         "LedgerEntry.postings.amount", KEEPS_TYPE),
    ],
)  # fmt: skip
def test_incompatible_change_when_compared_then_field_and_rule_are_named(
    file: str, record: str, change: Change, place: str, rule: str
) -> None:
    old, new = schema_of(f"{file}.avsc"), schema_of(f"{file}.avsc")
    change(fields_of(new, record))
    found = incompatibilities(new, old)
    assert {(each.place, each.rule) for each in found} == {(place, rule)}


@pytest.mark.parametrize(
    "change",
    [
        lambda of: of["@"].append({"name": "desk", "type": ["null", "string"], "default": None}),
        lambda of: of["time_in_force"]["type"]["symbols"].append("ATC"),
        lambda of: of["sent_ns"].update(doc="another text"),
    ],
)
def test_compatible_change_when_compared_then_nothing_is_said(change: Change) -> None:
    old, new = schema_of("order-intent.v1.avsc"), schema_of("order-intent.v1.avsc")
    change(fields_of(new, "OrderIntent"))
    assert incompatibilities(new, old) == ()


def add_kind(of: dict[str, Any]) -> None:
    of["kind"]["type"]["symbols"].append("AUCTION")


def test_subject_of_strangers_when_readers_come_first_then_taken_and_refused_where_old_records_are_lost(
    tmp_path: Path,
) -> None:
    def said_of(subject: str, of: str, change: Change) -> tuple[int, str]:
        shutil.copytree(DIRECTORY, tmp_path, dirs_exist_ok=True)
        rows = [asdict(file) for file in read_index()]
        schema = schema_of(of)
        change(fields_of(schema, schema["name"]))
        (tmp_path / "next.avsc").write_text(json.dumps(schema), "utf-8")
        number = 1 + max(row["version"] for row in rows if row["subject"] == subject)
        rows.append({"id": rows[-1]["id"] + 1, "subject": subject, "version": number, "file": "next.avsc"})
        (tmp_path / INDEX).write_text(json.dumps(rows), "utf-8")
        return call("check", "--directory", str(tmp_path))

    event, intent = ("md.events-value", "market-event.v1.avsc"), ("orders.intents-value", "order-intent.v1.avsc")
    assert said_of(*event, add_kind)[0] == 0
    assert said_of(*event, lambda of: of["@"].remove(of["venue"]))[0] == 0
    code, said = said_of(*event, lambda of: of["@"].append({"name": "desk", "type": "string"}))
    assert code == 1
    assert f"MarketEvent.desk: {NEEDS_DEFAULT} (new reads old" in said
    code, said = said_of(*intent, lambda of: of["order_type"]["type"]["symbols"].append("STOP"))
    assert code == 1
    assert "(old reads new" in said


def test_file_that_says_otherwise_than_the_class_when_checked_then_refused_in_one_line(tmp_path: Path) -> None:
    framing = ORDERS_INTENTS.schema.framing
    assert isinstance(framing, AvroFraming)
    shutil.copytree(DIRECTORY, tmp_path, dirs_exist_ok=True)
    file = tmp_path / framing.file
    version = file.stem.rpartition(".v")[2]
    schema = json.loads(file.read_text("utf-8"))
    schema["fields"].append({"name": "desk", "type": "string"})
    file.write_text(json.dumps(schema), "utf-8")
    code, said = call("check", "--directory", str(tmp_path))
    assert code == 1
    assert f"orders.intents-value: {file.name} is not what the file says: raise its version" in said
    assert f"orders.intents-value: the code against version {version}: OrderIntent.desk: {NEEDS_DEFAULT}" in said


def test_version_that_an_older_one_cannot_read_when_checked_then_refused_whatever_lies_between(tmp_path: Path) -> None:
    """Transitive: the fourth version agrees with the third and the third with the second, but not with the second."""
    shutil.copytree(DIRECTORY, tmp_path, dirs_exist_ok=True)
    rows = json.loads((tmp_path / INDEX).read_text("utf-8"))
    first = without_texts(schema_of("order-intent.v1.avsc"))
    optional = {"name": "desk", "type": "string", "default": ""}
    second = first | {"fields": [*first["fields"], optional]}
    fourth = first | {"fields": [*first["fields"], optional | {"type": "long", "default": 0}]}
    for number, schema in ((2, second), (3, first), (4, fourth)):
        name = f"order-intent.v{number}.avsc"
        (tmp_path / name).write_text(json.dumps(schema), "utf-8")
        rows.append({"id": rows[-1]["id"] + 1, "subject": "orders.intents-value", "version": number, "file": name})
    (tmp_path / INDEX).write_text(json.dumps(rows), "utf-8")
    code, said = call("check", "--directory", str(tmp_path))
    assert code == 1
    assert f"version 4 against version 2: OrderIntent.desk: {KEEPS_TYPE}" in said
    assert "version 4 against version 3" not in said
