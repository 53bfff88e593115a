"""Personal data in exports: masked by a client's key, nobody's once it is gone, and the ledger adds up all the same."""

import asyncio
import base64
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Final, get_args, get_origin

import pytest
from common.contracts.controls import FIRM
from common.contracts.events import Caller, OrderIntent, RiskCommand
from common.contracts.market import mark_clock_key
from common.contracts.personal import Personal, tags_of, tags_of_adapter
from common.contracts.personal_documentation import FILE, render
from common.contracts.rights import Role
from common.contracts.topics import (
    AUDIT_COMMANDS,
    MD_BARS,
    ORDERS_INTENTS,
    RISK_COMMANDS,
    RISK_DECISIONS,
    RISK_GATE_CHANGELOG,
    RISK_LEDGER,
    RUNTIME_OPERATIONS,
    TOPICS,
    Topic,
)
from common.fleet_topics import create_topics
from common.testing.orders import NOW_NS, clock_row, fund, instrument, intent, mark_row, set_account
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import LocalStack
from pydantic import BaseModel
from risk.domain.gate import Limits
from risk.stages import Gate
from risk.tables import DAY_NS, TABLES
from streams.edges.sender import Sender
from streams.model.message import Message, Output
from streams.process.settings import KafkaSettings, RedisSettings
from streams.process.settings import Settings as ProcessSettings
from streams.testing.tables import MemoryTables, message
from tidemark.console import CommandError
from tidemark.issuer.store import AccessStore, Person
from tidemark.main import app
from tidemark.personal.keyring import ERASED, Keyring, NotSealed
from tidemark.personal.masking import Masks, masked_decoder_of
from tidemark.tabular import Row, decoder_of
from typer.testing import CliRunner

ANNIE, BORIS = "ACC-ANNIE", "ACC-BORIS"
SUBJECTS: Final = {ANNIE: "annie.miller", BORIS: "boris.weber"}
ADDRESS: Final = "203.0.113.7"
PERSONAL: Final = (ANNIE, BORIS, *SUBJECTS.values(), ADDRESS, "annies-order")
"""Texts that no export may hold."""
READ: Final = (ORDERS_INTENTS, RISK_COMMANDS, RISK_DECISIONS, RISK_LEDGER, AUDIT_COMMANDS)


def records() -> list[tuple[Topic, bytes, bytes]]:
    """Topic, key and value of all that two clients and the gate have written, in one partition."""
    handle, tables = Gate(Limits(), 7 * DAY_NS).handle, MemoryTables(TABLES, 0)
    tables.globals("instruments").put(b"ACME", instrument("ACME", 1))
    tables.globals("marks").put(b"ACME", mark_row("ACME"), 1)
    tables.globals("marks").put(mark_clock_key(1), clock_row(NOW_NS), 1)
    sent: list[OrderIntent | RiskCommand] = []
    for account_id, subject in SUBJECTS.items():
        who = Caller(subject=subject, client="desk", address=ADDRESS)
        commands = (set_account(account_id), fund(account_id, command_id="cash", cash_e4=100_000_000))
        sent += [command.model_copy(update={"who": who}) for command in commands]
        sent.append(intent("annies-order" if account_id == ANNIE else "o1", account_id))
    found: list[tuple[Topic, bytes, bytes]] = []
    for offset, body in enumerate(sent):
        topic, key = ORDERS_INTENTS if isinstance(body, OrderIntent) else RISK_COMMANDS, body.account_id.encode()
        found.append((topic, key, topic.schema.encode(body)))
        for item in handle(message(topic, key, body, partition=0, offset=offset), tables, NOW_NS):
            if isinstance(item, Output) and item.topic in READ:
                value = item.body if isinstance(item.body, bytes) else item.topic.schema.encode(item.body)
                found.append((item.topic, item.key or b"", value))
    return found


def messages(topic: Topic) -> list[Message]:
    written = [(key, value) for of, key, value in records() if of is topic]
    return [Message(topic, 0, offset, key, value, 1) for offset, (key, value) in enumerate(written)]


def masked(topic: Topic, keyring: Keyring) -> list[Row]:
    return list(masked_decoder_of(topic, Masks(keyring)).rows(messages(topic)))


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "keyring")


# --- the contracts ---------------------------------------------------------------------------------------------------

NOBODYS: Final = frozenset(
    {
        *("type", "symbol", "venue", "currency", "asset", "limit", "conflict", "topic", "stage", "release", "places"),
        *("known", "break_id"),
    }
)
"""Fields of texts that say nothing of a person: what the fleet or the market calls its things."""


def _is_text(annotation: Any) -> bool:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _is_text(arguments[0])
    if origin is dict:
        return False  # by names of limits, checks and numbers
    if origin in (tuple, list):
        return _is_text(arguments[0])
    return annotation is str or any(_is_text(each) for each in arguments if each is not NoneType)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from _models(field.annotation)
    for each in get_args(annotation):
        yield from _models(each)


def test_every_text_in_a_message_is_tagged_or_known_to_be_nobodys() -> None:
    models = {
        model for topic in TOPICS if topic.schema.model is not None for model in _models(topic.schema.model._type)
    }
    untagged = {
        f"{model.__name__}.{name}"
        for model in models
        for name, field in model.model_fields.items()
        if _is_text(field.annotation) and name not in NOBODYS and not isinstance(_tag(model, name), Personal)
    }
    assert len(models) > 30
    assert untagged == set()


def _tag(model: type[BaseModel], name: str) -> Any:
    return tags_of(model)[name]


def test_page_of_personal_data_is_current() -> None:
    assert FILE.read_text("utf-8") == render(), "out of date: make schemas"


# --- the keyring -----------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.text(max_size=40), min_size=1, max_size=8))
def test_sealed_texts_are_alike_for_alike_and_open_with_their_own_key_only(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    keyring = Keyring(tmp_path_factory.mktemp("keyring"))
    annie, boris = keyring.client(ANNIE), keyring.client(BORIS)
    for text in texts:
        sealed = annie.seal(text)
        assert sealed == Keyring(keyring.directory).client(ANNIE).seal(text)
        if text:
            assert annie.open(sealed) == text
            assert sealed != boris.seal(text)
            with pytest.raises(NotSealed):
                boris.open(sealed)
            with pytest.raises(NotSealed):
                annie.open(sealed[:-2])


def test_key_when_thrown_away_then_nothing_of_it_is_left_and_none_is_made_again(keyring: Keyring) -> None:
    client = keyring.client(ANNIE)
    assert client.key is not None
    sealed = client.seal("annies-order")
    keyring.erase(ANNIE)
    keyring.erase(ANNIE)
    for again in (keyring, Keyring(keyring.directory)):
        assert (again.client(ANNIE).pseudonym, again.client(ANNIE).seal("x"), again.holder(client.pseudonym)) == (
            ERASED,
            ERASED,
            None,
        )
        with pytest.raises(NotSealed):
            again.client(ANNIE).open(sealed)
    assert base64.b64encode(client.key) not in _bytes_of(keyring.directory)
    assert client.key not in _bytes_of(keyring.directory) and ANNIE.encode() not in _bytes_of(keyring.directory)
    assert keyring.client(BORIS).pseudonym not in (ERASED, client.pseudonym)


def test_keyring_is_its_owners_alone(keyring: Keyring) -> None:
    keyring.client(ANNIE)
    assert keyring.directory.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in keyring.directory.iterdir()} == {0o600}


def _bytes_of(directory: Path) -> bytes:
    return b"\n".join(bytes(file) + b" " + file.read_bytes() for file in sorted(directory.iterdir()))


# --- masks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", READ, ids=lambda topic: topic.name)
def test_masked_rows_name_nobody_and_say_everything_else_as_it_is(topic: Topic, keyring: Keyring) -> None:
    raw, rows = list(decoder_of(topic).rows(messages(topic))), masked(topic, keyring)
    text = json.dumps(rows)
    assert raw and not [each for each in PERSONAL if each in text]
    assert topic.schema.model is not None
    tags = tags_of_adapter(topic.schema.model)
    plain = [name for name in raw[0] if name not in tags and name != "key"]
    assert [[row.get(name) for name in plain] for row in rows] == [[row.get(name) for name in plain] for row in raw]
    names = {keyring.client(account).pseudonym: account for account in SUBJECTS}
    assert [names[row["key"]] for row in rows] == [row["key"] for row in raw]
    assert [names[row["account_id"]] for row in rows] == [row["account_id"] for row in raw]


def test_masked_tables_have_the_rows_and_columns_of_plain_ones(keyring: Keyring) -> None:
    decoder = masked_decoder_of(AUDIT_COMMANDS, Masks(keyring))
    table = decoder.table(messages(AUDIT_COMMANDS))
    assert table.schema == decoder_of(AUDIT_COMMANDS).columns
    assert table.column("who").to_pylist() == [json.dumps(row["who"]) for row in masked(AUDIT_COMMANDS, keyring)]


def test_digests_of_a_chain_cannot_confirm_a_guess(keyring: Keyring) -> None:
    raw = [row["chain"] for row in decoder_of(RISK_LEDGER).rows(messages(RISK_LEDGER))]
    shown = [row["chain"] for row in masked(RISK_LEDGER, keyring)]
    assert not set(raw) & set(shown)
    opened = [keyring.client(account).open(chain) for account, chain in zip(_owners(), shown, strict=True)]
    assert opened == raw


def _owners() -> list[str]:
    return [(each.key or b"").decode() for each in messages(RISK_LEDGER)]


@pytest.mark.parametrize("topic", [RISK_LEDGER.dead_letter_topic, RISK_GATE_CHANGELOG, RUNTIME_OPERATIONS])
def test_topics_that_may_hold_anything_are_not_masked_and_not_read(topic: Topic, keyring: Keyring) -> None:
    with pytest.raises(CommandError, match="cannot be masked"):
        masked_decoder_of(topic, Masks(keyring))


def test_rows_of_the_market_and_of_the_firm_are_nobodys(keyring: Keyring) -> None:
    assert masked_decoder_of(MD_BARS, Masks(keyring)).columns == decoder_of(MD_BARS).columns
    assert Masks(keyring).account(FIRM) == FIRM


# --- the commands, on a real log -------------------------------------------------------------------------------------


@pytest.fixture
def bootstrap() -> Iterator[str]:
    with LocalStack({"kafka"}) as stack:
        address = stack.addresses.kafka_bootstrap
        asyncio.run(create_topics(address, [*READ, RUNTIME_OPERATIONS], partitions={"accounts": 1}))
        asyncio.run(_send(address))
        yield address


async def _send(bootstrap: str) -> None:
    sender = Sender(ProcessSettings(kafka=KafkaSettings(bootstrap=bootstrap), redis=RedisSettings(url="")), "test")
    await sender.start()
    for topic, key, value in records():
        await sender.send_many(topic, [(key, value)])
    await sender.stop()


class Commands:
    def __init__(self, bootstrap: str, directory: Path) -> None:
        self.where = ["--bootstrap", bootstrap, "--state-dir", str(directory / "state")]
        self.keyring = ["--keyring", str(directory / "keyring")]
        self.directory = directory

    def run(self, *words: str, code: int = 0) -> str:
        done = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, words)
        assert done.exit_code == code, (done.stdout, done.stderr, done.exception)
        return done.stdout if code == 0 else done.stderr

    def exported(self, name: str) -> dict[str, list[Row]]:
        """All topics as JSON Lines and CSV, and one in a sink, none of which names anybody; the rows of the first."""
        rows = {}
        for topic in READ:
            for kind in ("jsonl", "csv"):
                out = self.directory / f"{name}-{topic.name}.{kind}"
                options = ["--from-beginning", "--to-end", "--format", kind, "--out", str(out)]
                self.run("read", topic.name, *options, *self.keyring, *self.where)
            rows[topic.name] = [json.loads(line) for line in out.with_suffix(".jsonl").read_text().splitlines()]
        sink = self.directory / f"{name}.sqlite"
        options = ["--sink", "sqlite", "--option", f"file={sink}", "--to-end"]
        self.run("read", ORDERS_INTENTS.name, *options, *self.keyring, *self.where)
        with sqlite3.connect(sink) as connection:
            (count,) = connection.execute(f'select count(*) from "{ORDERS_INTENTS.name}"').fetchone()
        assert count == len(rows[ORDERS_INTENTS.name])
        for file in self.directory.glob(f"{name}[-.]*"):
            assert not [each for each in PERSONAL if each.encode() in file.read_bytes()], file
        return rows

    def audited(self) -> tuple[Any, Any]:
        raw = self.directory / "ledger.jsonl"
        self.run("read", RISK_LEDGER.name, "--from-beginning", "--to-end", "--out", str(raw), *self.where)
        verified = json.loads(self.run("audit", "--verify-chain", str(raw), "--json"))
        who = json.loads(self.run("audit", "--who", "--json", *self.where))
        return verified, who


def balances(rows: list[Row]) -> dict[str, Counter[str]]:
    """By account, of a ledger's rows as they were exported; every entry sums to zero."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        sums: Counter[str] = Counter()
        for posting in row["postings"]:
            sums[posting["asset"]] += posting["amount"]
            found.setdefault(row["account_id"], Counter())[f"{posting['book']} {posting['asset']}"] += posting["amount"]
        assert not any(sums.values())
    return found


def test_client_when_erased_then_no_export_leads_back_to_him_and_the_ledger_adds_up(
    bootstrap: str, tmp_path: Path
) -> None:
    commands = Commands(bootstrap, tmp_path)
    store = AccessStore(tmp_path / "state" / "access")
    store.prepare()
    for account, subject in SUBJECTS.items():
        store.put_person(subject, Person(roles=[Role.TRADER], accounts=[account]))
    before, truth = commands.exported("before"), commands.audited()
    keyring = Keyring(tmp_path / "keyring")
    annie, boris = keyring.client(ANNIE).pseudonym, keyring.client(BORIS).pseudonym
    ordered = next(row for row in before[ORDERS_INTENTS.name] if row["account_id"] == annie)
    revealed = commands.run("reveal", annie, ordered["client_order_id"], *commands.keyring)
    assert revealed.splitlines() == [ANNIE, "annies-order"]

    words = ["erase", ANNIE, "--reason", "asked to", *commands.keyring, *commands.where]
    commands.run(*words)
    assert keyring.client(ANNIE).pseudonym == annie and SUBJECTS[ANNIE] in store.everybody(), "a dry run"
    commands.run(*words, "--yes")
    commands.run(*words, "--yes")

    refused = commands.run("reveal", annie, ordered["client_order_id"], *commands.keyring, code=1)
    assert "thrown away" in refused
    after = commands.exported("after")
    assert {row["account_id"] for row in after[RISK_LEDGER.name]} == {ERASED, boris}
    assert annie not in json.dumps(after), "old exports and new ones cannot be put together"
    was, now = balances(before[RISK_LEDGER.name]), balances(after[RISK_LEDGER.name])
    assert (now[ERASED], now[boris]) == (was[annie], was[boris])
    assert commands.audited() == truth, "the log is as it was"
    assert commands.run("reveal", boris, *commands.keyring).splitlines() == [BORIS]
    assert set(store.everybody()) == {"owner", SUBJECTS[BORIS]}
    assert SUBJECTS[ANNIE] in json.loads(store.denied.read_bytes())["subjects"]
    options = ["--from-beginning", "--to-end", *commands.where]
    done = [json.loads(line) for line in commands.run("read", RUNTIME_OPERATIONS.name, *options).splitlines()]
    assert [row["key"] for row in done] == [f"erase/{ANNIE}"], "the second time there was nothing to do"
    assert annie not in json.dumps(done) and json.loads(done[0]["value"])["reason"] == "asked to"
