"""Rows on file: current, complete, and never changed without a version step."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from common.contracts.schemas import Contract, IncompatibleContractError, problems, recorded_versions
from common.contracts.topics import INGEST_FEED_CHANGELOG, SIGNALS_MARKET_CHANGELOG, TOPICS
from common.ledger.digests import COMMAND_RESULTS, DECISIONS, LEDGER_ENTRIES
from common.ledger.rows import ExecutionRow, OrderRow
from risk.domain.account import AccountRow
from streams.model.row_layouts import struct_layout
from tidemark.row_layouts import PROJECTION, STAGES, contracts, export_rows

CURRENT = {contract.name: contract for contract in contracts()}
WITHOUT_ROWS = {INGEST_FEED_CHANGELOG, SIGNALS_MARKET_CHANGELOG}
"""A source's positions, and a stage that has bulk state only."""


@pytest.mark.parametrize("name", CURRENT)
def test_rows_in_the_code_are_those_on_file(name: str) -> None:
    recorded = recorded_versions(name)
    assert CURRENT[name].version in recorded, "not on file: make schemas"
    assert problems(CURRENT[name], recorded) == (), "raise LAYOUT_VERSION and add a migration, or keep the rows"
    assert recorded[CURRENT[name].version] == CURRENT[name].document, "out of date: make schemas"


def test_stages_when_they_have_a_changelog_then_their_rows_are_on_file() -> None:
    changelogs = {topic.name for topic in TOPICS if topic.name.endswith(".changelog") and topic not in WITHOUT_ROWS}
    assert {f"{stage}.changelog" for stage, _ in STAGES} == changelogs


def test_columns_that_the_auditor_compares_are_on_file() -> None:
    said = CURRENT[PROJECTION].document
    on_file = {table: {field["name"] for field in said[table]["fields"]} for table in said}
    assert {*OrderRow._fields, "order_id", "revision"} <= on_file["orders"]
    assert {*ExecutionRow._fields, "execution_id"} <= on_file["executions"]
    assert {*LEDGER_ENTRIES} <= on_file["ledger_entries"]
    assert {*DECISIONS, "partition", "record_offset"} <= on_file["decisions"]
    assert {*COMMAND_RESULTS, "partition", "record_offset"} <= on_file["command_results"]
    assert {"account_id", "ledger_seq", "status"} <= on_file["accounts"]
    assert {"account_id", "book", "asset", "amount"} <= on_file["balances"]
    assert {"topic", "partition", "next_offset"} <= on_file["projection_positions"]


def with_accounts(change: Callable[[list[object]], object]) -> Contract:
    """The gate's rows with another row of accounts."""
    gate = CURRENT["rows-risk.gate"]
    accounts = struct_layout(AccountRow)
    change(accounts["fields"])
    return replace(gate, document={**gate.document, "accounts": accounts})


@pytest.mark.parametrize("change", [list.reverse, list.pop, lambda fields: fields.append({"name": "x", "type": {}})])
def test_rows_when_changed_under_their_version_then_export_is_refused_and_writes_nothing(
    change: Callable[[list[object]], object], tmp_path: Path
) -> None:
    export_rows(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(IncompatibleContractError, match="accounts"):
        export_rows(tmp_path, [with_accounts(change)])
    gate = with_accounts(change)
    raised = replace(gate, version=gate.version + 1)
    assert [file.name for file in export_rows(tmp_path, [raised])] == [raised.file_name]
    assert sorted(file for file in tmp_path.iterdir() if file.name != raised.file_name) == before


def test_rows_when_a_field_is_appended_then_either_release_reads_what_the_other_wrote() -> None:
    fields = [(field.name, field.type, field.default) for field in msgspec.structs.fields(AccountRow)[:2]]
    older = msgspec.defstruct("Row", [fields[0][:2], fields[1]], array_like=True)
    newer = msgspec.defstruct("Row", [fields[0][:2], fields[1], ("more", int, 0)], array_like=True)
    status = next(iter(fields[0][1]))
    for wrote, reads in ((older, newer), (newer, older)):
        raw = msgspec.msgpack.encode(wrote(status, 7))
        assert msgspec.structs.asdict(msgspec.msgpack.decode(raw, type=reads))["cash_e4"] == 7
