"""The ledger's hash chain in exports: what the gate wrote is whole, and any change of any entry is found and placed."""

import copy
import hashlib
import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from common.contracts.events import LedgerEntry, OrderIntent, RiskCommand
from common.contracts.market import mark_clock_key
from common.contracts.topics import ORDERS_INTENTS, RISK_COMMANDS, RISK_LEDGER
from common.contracts.values import E4
from common.ledger.chain import ChainVerifier, Fault, head_text, parse_head
from common.testing.orders import NOW_NS, clock_row, fund, instrument, intent, mark_row, set_account, withdraw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from risk.domain.gate import Limits
from risk.stages import Gate
from risk.tables import DAY_NS, TABLES
from streams.model.message import Message, Output
from streams.testing.tables import MemoryTables, message
from tidemark.audit.export import link_of_row
from tidemark.audit.verify import ChainReport, verifier_with, verify_files
from tidemark.main import app
from tidemark.tabular import Format, decoder_of
from tidemark.writers import writer_for
from typer.testing import CliRunner

PARTITIONS = 2
ACCOUNTS = 3
Row = dict[str, Any]


def bodies(partition: int) -> list[OrderIntent | RiskCommand]:
    """Accounts of a partition are opened and funded, take orders, and pay out."""
    sent: list[OrderIntent | RiskCommand] = []
    names = [f"a{partition}-{number}" for number in range(ACCOUNTS)]
    for name in names:
        sent += [set_account(name), fund(name, command_id="cash", cash_e4=10_000 * E4)]
    sent.append(fund(names[0], command_id="shares", symbol="ACME", qty=9))
    sent += [intent(f"o{number}", names[number % ACCOUNTS]) for number in range(6)]
    sent += [withdraw(name, command_id="out", cash_e4=E4) for name in names]
    return sent


@cache
def records() -> tuple[Message, ...]:
    """The ledger as the gate writes it, with the offsets that transactions leave: not every number is a record."""
    handle = Gate(Limits(), 7 * DAY_NS).handle
    written = []
    for partition in range(PARTITIONS):
        tables = MemoryTables(TABLES, partition)
        tables.globals("instruments").put(b"ACME", instrument("ACME", 1))
        tables.globals("marks").put(b"ACME", mark_row("ACME"), 1)
        tables.globals("marks").put(mark_clock_key(1), clock_row(NOW_NS), 1)
        for number, body in enumerate(bodies(partition)):
            topic = ORDERS_INTENTS if isinstance(body, OrderIntent) else RISK_COMMANDS
            record = message(topic, body.account_id.encode(), body, partition=partition, offset=number + 1)
            for item in handle(record, tables, NOW_NS):
                if isinstance(item, Output) and item.topic is RISK_LEDGER:
                    assert isinstance(item.body, bytes)
                    written.append(Message(RISK_LEDGER, partition, number * 2, item.key, item.body, 0))
    return tuple(written)


@cache
def exported() -> bytes:
    """The text that ``tidemark read risk.ledger --format jsonl`` prints."""
    out = io.BytesIO()
    writer = writer_for(Format.JSONL, decoder_of(RISK_LEDGER), out)
    writer.write(list(records()))
    writer.close()
    return out.getvalue()


def rows() -> list[Row]:
    return [json.loads(line) for line in exported().splitlines()]


def save(path: Path, changed: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in changed), "utf-8")
    return path


def verified(tmp_path: Path, changed: list[Row]) -> ChainReport:
    """The export with the heads of the sound one kept elsewhere."""
    return verify_files([save(tmp_path / "changed.jsonl", changed)], heads().items())


@cache
def heads() -> Any:
    verifier = ChainVerifier()
    for record in records():
        verifier.apply_message(record)
    assert verifier.conclude() == []
    return verifier.heads()


def tidemark(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, ["audit", "--verify-chain", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_export_as_the_gate_wrote_it_then_whole_and_its_heads_are_printed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(exported())
    code, text, errors = tidemark(str(path))
    assert (code, "the chain is whole" in errors) == (0, True)
    assert dict(parse_head(line) for line in text.splitlines()) == heads()
    kept = tmp_path / "heads"
    kept.write_text(text, "utf-8")
    assert tidemark(str(path), "--heads", str(kept))[0] == 0


def test_bytes_that_are_hashed_are_the_records_own() -> None:
    verifier = verifier_with([])
    for row in rows():
        verifier.apply(link_of_row(row))
    assert verifier.heads() == heads()
    assert verifier.entries == len(records()) == 26


def test_export_with_its_fields_in_another_order_or_spaced_then_still_whole(tmp_path: Path) -> None:
    text = "".join(json.dumps(row, sort_keys=True, indent=None) + "\n\n" for row in rows())
    path = tmp_path / "sorted.jsonl"
    path.write_text(text, "utf-8")
    assert verify_files([path], heads().items()).findings == []


def test_one_value_altered_then_that_entry_is_named(tmp_path: Path) -> None:
    changed = rows()
    changed[4]["postings"][0]["amount"] += 1
    changed[4]["postings"][1]["amount"] -= 1
    path = save(tmp_path / "changed.jsonl", changed)
    code, text, _ = tidemark(str(path), "--json")
    assert code == 1
    (fault,) = json.loads(text)["faults"]
    place = {name: changed[4][name] for name in ("partition", "offset", "account_id", "seq")}
    assert fault == {"fault": "altered", **place, "text": fault["text"]}
    assert (
        f"{place['partition']}/{place['offset']} {place['account_id']} entry {place['seq']}" in tidemark(str(path))[2]
    )


def test_one_entry_dropped_then_its_number_and_account_are_told(tmp_path: Path) -> None:
    changed = rows()
    gone = changed.pop(3)
    later = next(n for n, row in enumerate(changed) if row["chain_seq"] == gone["chain_seq"] + 1)
    (finding,) = verified(tmp_path, changed).findings
    assert (finding.fault, finding.offset) == (Fault.DROPPED, changed[later]["offset"])
    assert f"number {gone['chain_seq']} of the chain is missing" in finding.text


def test_entry_dropped_before_another_of_its_account_then_its_sequence_is_told(tmp_path: Path) -> None:
    changed = rows()
    gone = next(n for n, row in enumerate(changed) if changed[n + 1]["account_id"] == row["account_id"])
    account, seq = changed[gone]["account_id"], changed[gone]["seq"]
    del changed[gone]
    (finding,) = verified(tmp_path, changed).findings
    assert finding.fault is Fault.DROPPED
    assert f"{account} entry {seq} among them" in finding.text


def test_two_entries_swapped_then_the_one_out_of_place_is_named(tmp_path: Path) -> None:
    changed = rows()
    changed[4], changed[5] = changed[5], changed[4]
    found = verified(tmp_path, changed).findings
    assert {finding.fault for finding in found} == {Fault.REORDERED}
    assert found[0].offset == changed[5]["offset"]


def test_two_entries_swapped_under_each_others_offsets_then_found_as_well(tmp_path: Path) -> None:
    changed = rows()
    changed[4], changed[5] = changed[5], changed[4]
    changed[4]["offset"], changed[5]["offset"] = changed[5]["offset"], changed[4]["offset"]
    (finding,) = verified(tmp_path, changed).findings
    assert (finding.fault, finding.offset) == (Fault.REORDERED, changed[5]["offset"])


def test_end_cut_off_then_only_a_head_that_was_kept_tells(tmp_path: Path) -> None:
    changed = rows()
    del changed[-2:]
    path = save(tmp_path / "changed.jsonl", changed)
    assert verify_files([path], []).findings == []
    code, _, errors = tidemark(str(path), "--head", head_text(1, heads()[1]))
    assert (code, "cut off" in errors) == (1, True)


def test_chained_anew_after_a_change_then_only_a_head_that_was_kept_tells(tmp_path: Path) -> None:
    changed = [row for row in rows() if row["partition"] == 0]
    changed[2]["booked_ns"] += 1
    forger = ChainVerifier()
    for row in changed:
        link = link_of_row(row)
        before = forger.heads()[0]
        row["chain"] = hashlib.sha256(bytes.fromhex(before.chain) + link.hashed).hexdigest()
        forger.apply(link_of_row(row))
    path = save(tmp_path / "forged.jsonl", changed)
    assert verify_files([path], []).findings == []
    assert [finding.fault for finding in verify_files([path], [(0, heads()[0])]).findings] == [Fault.REWRITTEN]


def test_partitions_exchanged_then_neither_chain_begins_where_it_must(tmp_path: Path) -> None:
    changed = [row | {"partition": 1 - row["partition"]} for row in rows()]
    found = verify_files([save(tmp_path / "changed.jsonl", changed)], []).findings
    assert [(finding.fault, finding.partition) for finding in found] == [(Fault.ALTERED, 0), (Fault.ALTERED, 1)]


def test_entry_repeated_or_without_its_chain_then_found(tmp_path: Path) -> None:
    changed = rows()
    changed.insert(6, changed[5] | {"offset": changed[5]["offset"] + 1})
    assert [finding.fault for finding in verified(tmp_path, changed).findings] == [Fault.REPEATED]
    bare = rows()
    del bare[5]["chain"], bare[5]["chain_seq"]
    assert verified(tmp_path, bare).findings[0].fault is Fault.UNCHAINED


def test_record_whose_bytes_say_the_same_in_another_way_then_found() -> None:
    verifier = ChainVerifier()
    for number, record in enumerate(records()):
        value = record.value or b""
        if number == 3:
            value = value.replace(b'"kind":', b'"kind": ')
            assert RISK_LEDGER.schema.decode(value) == record.body
        verifier.apply_message(Message(RISK_LEDGER, record.partition, record.offset, record.key, value, 0))
    (finding,) = verifier.conclude()
    assert (finding.fault, finding.offset) == (Fault.ALTERED, records()[3].offset)


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"", "holds no row"), (b'{"key":"a"}\n', "holds no row"), (b"\x00\xff\n", "holds no row")],
)
def test_file_that_is_no_export_then_says_how_to_make_one(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    code, _, errors = tidemark(str(path))
    assert (code, expected in errors, "Traceback" in errors) == (1, True, False)


def test_head_that_is_none_then_says_what_one_looks_like(tmp_path: Path) -> None:
    code, _, errors = tidemark(str(tmp_path / "any"), "--head", "0=x")
    assert (code, "PARTITION=NUMBER:HASH" in errors) == (1, True)


# --- any change ---------------------------------------------------------------------------------------------------

WORDS = st.text(max_size=8)
NUMBERS = st.integers(-(2**70), 2**70)
VALUES = st.one_of(st.none(), st.booleans(), NUMBERS, st.floats(allow_nan=False), WORDS, st.lists(NUMBERS, max_size=2))
HASHES = st.text("0123456789abcdef", min_size=64, max_size=64)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to every value of an entry: of each field, and of each field of each posting."""
    nested = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [leaf for name, inner in nested for leaf in leaves(inner, (*path, name))]


@given(st.data())
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_single_change_of_any_entry_is_found(tmp_path: Path, data: st.DataObject) -> None:
    changed = rows()
    number = data.draw(st.integers(0, len(changed) - 1), label="entry")
    row = changed[number]
    kind = data.draw(st.sampled_from(("set", "remove", "add", "drop", "move", "swap", "double")), label="change")
    names = [path for path in leaves(row) if path[0] not in ("offset", "timestamp_ms")]
    if kind in ("set", "remove"):
        *way, name = data.draw(st.sampled_from(names), label="where")
        inner = row
        for step in way:
            inner = inner[step]
        before = copy.deepcopy(inner)
        if kind == "set":
            inner[name] = data.draw(VALUES | HASHES, label="to")
        else:
            del inner[name]
        if json.dumps(inner, sort_keys=True) == json.dumps(before, sort_keys=True):
            return  # the same value again is no change
    elif kind == "add":
        names_known = st.sampled_from(sorted(LedgerEntry.model_fields))
        name = data.draw((WORDS | names_known).filter(lambda word: word not in row), label="field")
        row[name] = data.draw(VALUES | HASHES, label="of")
    elif kind == "drop":
        del changed[number]
    elif kind == "double":
        changed.insert(data.draw(st.integers(0, len(changed))), dict(row))
    else:
        own = [n for n, other in enumerate(changed) if other["partition"] == row["partition"] and n != number]
        place = data.draw(st.sampled_from(own), label="to")
        if kind == "swap":
            changed[number], changed[place] = changed[place], changed[number]
        else:
            changed.insert(place, changed.pop(number))
    assert verified(tmp_path, changed).findings


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_bit_of_any_record_flipped_then_found(data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(records()) - 1), label="entry")
    verifier = verifier_with(heads().items())
    refused = False
    for position, record in enumerate(records()):
        value = bytearray(record.value or b"")
        if position == number:
            value[data.draw(st.integers(0, len(value) - 1), label="byte")] ^= 1 << data.draw(st.integers(0, 7))
        changed = Message(RISK_LEDGER, record.partition, record.offset, record.key, bytes(value), 0)
        try:
            verifier.apply_message(changed)
        except ValueError:
            refused = True
    assert refused or verifier.conclude()
