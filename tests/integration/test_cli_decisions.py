"""``tidemark decisions`` on a real log that a gate has written: what is asked for, its order, and how much is read."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from common.contracts.command_records import CommandRecord
from common.contracts.events import Caller, CommandResult, Decision
from common.contracts.topics import AUDIT_COMMANDS, RISK_DECISIONS
from common.contracts.values import E4, Side
from common.fleet_topics import create_topics
from common.testing.orders import fund, intent, set_account
from parts import LocalStack
from tidemark import decisions
from tidemark.main import app
from typer.testing import CliRunner

from tests.risk.conftest import Desk

RUNNER = CliRunner(env={"COLUMNS": "250", "TERM": "dumb"})
NS_PER_S = 10**9
NS_PER_MS = 10**6
BEGIN_NS = (time.time_ns() // NS_PER_S - 3_600) * NS_PER_S
"""Lately: what is older than the topic keeps its records would be gone in the middle of a test."""
ACCOUNTS = ("A", "B", "C", "D", "E")
ROUNDS = 12
BACK_NS = 30 * NS_PER_S
ANN = Caller(subject="ann", client="desk", address="10.0.0.7")
DENIED = "A.denied"


class World:
    """A desk's answers as they were written; C has no cash, and the last one is by a clock that is behind."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.desk.keeps_views = False
        self.records: list[CommandRecord] = []
        self.desk.list_instrument("BETA", 4)
        for account_id in ACCOUNTS:
            self._at(0)
            opened = set_account(account_id).model_copy(update={"who": ANN})
            self.records += [each for each in self.desk.send(opened) if isinstance(each, CommandRecord)]
            if account_id != "C":
                self.desk.send(fund(account_id, command_id="cash", cash_e4=100_000 * E4))
        for number in range(ROUNDS * len(ACCOUNTS)):
            self._at((number + 1) * NS_PER_S)
            symbol = ("ACME", "BETA")[number % 2]
            self.desk.decide(intent(f"o{number}", ACCOUNTS[number % len(ACCOUNTS)], symbol=symbol, qty=1))
        self.desk.decide(intent("denied", "A", qty=0))
        self.desk.decide(intent("denied", "A", qty=0))
        self._at(ROUNDS * len(ACCOUNTS) * NS_PER_S - BACK_NS)
        self.desk.decide(intent("late", "A", side=Side.SELL, qty=1))

    def _at(self, after_ns: int) -> None:
        self.desk.now_ns = BEGIN_NS + after_ns
        self.desk.tick()


@pytest.fixture(scope="module")
def world() -> World:
    return World()


async def _fill(bootstrap: str, world: World) -> None:
    await create_topics(bootstrap, [RISK_DECISIONS, AUDIT_COMMANDS], partitions={"accounts": 3})
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for topic, bodies in ((RISK_DECISIONS, world.desk.answered), (AUDIT_COMMANDS, world.records)):
            for body in bodies:
                key, at_ms = body.account_id.encode(), body.decided_ns // NS_PER_MS
                await producer.send(topic.name, topic.schema.encode(body), key, timestamp_ms=at_ms)


@pytest.fixture(scope="module")
def bootstrap(world: World) -> Iterator[str]:
    with LocalStack({"kafka"}) as running:
        asyncio.run(_fill(running.addresses.kafka_bootstrap, world))
        yield running.addresses.kafka_bootstrap


@pytest.fixture(params=[3, decisions.WINDOW_RECORDS])
def windows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first window of a few records, and one of all."""
    monkeypatch.setattr(decisions, "WINDOW_RECORDS", request.param)


def asked(bootstrap: str, *arguments: str) -> tuple[int, str, str]:
    ended = RUNNER.invoke(app, ["decisions", "--bootstrap", bootstrap, *arguments])
    return ended.exit_code, ended.stdout, ended.stderr


def id_of(said: Any) -> str:
    """Of a record, or of its row."""
    row = said if isinstance(said, dict) else said.model_dump(exclude_none=True)
    return str(row.get("order_id") or f"{row['account_id']} {row['command_id']}")


def moment(after_s: float) -> str:
    return datetime.fromtimestamp(BEGIN_NS / NS_PER_S + after_s, UTC).isoformat()


def _is_order(said: Decision | CommandResult, symbol: str) -> bool:
    return isinstance(said, Decision) and said.intent.symbol == symbol


QUESTIONS: list[tuple[list[str], Any]] = [
    ([], lambda said: True),
    (["--account", "B"], lambda said: said.account_id == "B"),
    (["--symbol", "BETA"], lambda said: _is_order(said, "BETA")),
    (["--account", "D", "--symbol", "ACME"], lambda said: said.account_id == "D" and _is_order(said, "ACME")),
    (["--reason", "CASH_INSUFFICIENT"], lambda said: said.reason == "CASH_INSUFFICIENT"),
    (
        ["--reason", "QTY_NOT_POSITIVE", "--reason", "POSITION_INSUFFICIENT"],
        lambda said: said.account_id == "A" and not said.accepted,
    ),
    (["--verdict", "denied"], lambda said: not said.accepted),
    (["--verdict", "accepted", "--account", "C"], lambda said: said.accepted and said.account_id == "C"),
    ([DENIED], lambda said: id_of(said) == DENIED),
    (["--since", moment(20), "--until", moment(25)], lambda said: 20 <= (said.decided_ns - BEGIN_NS) / NS_PER_S < 25),
    (
        ["--since", str(BEGIN_NS + ROUNDS * len(ACCOUNTS) * NS_PER_S - BACK_NS)],
        lambda said: said.decided_ns >= BEGIN_NS + ROUNDS * len(ACCOUNTS) * NS_PER_S - BACK_NS,
    ),
    (["--until", moment(1)], lambda said: said.decided_ns < BEGIN_NS + NS_PER_S),
]


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize("order", ["--newest-first", "--oldest-first"])
@pytest.mark.parametrize(
    ("question", "takes"), QUESTIONS, ids=lambda each: " ".join(each) if isinstance(each, list) else ""
)
def test_question_then_what_was_asked_for_in_order_of_time(
    bootstrap: str, world: World, question: list[str], takes: Any, order: str
) -> None:
    is_newest_first = order == "--newest-first"
    wanted = sorted(filter(takes, world.desk.answered), key=lambda said: said.decided_ns, reverse=is_newest_first)
    assert wanted
    for count in (4, 1_000):
        code, text, said = asked(bootstrap, *question, order, "--count", str(count), "--json")
        assert code == 0, said
        rows = [json.loads(line) for line in text.splitlines()]
        assert [row["decided_ns"] for row in rows] == [each.decided_ns for each in wanted[:count]]
        assert {id_of(row) for row in rows} <= set(map(id_of, wanted))
        assert ("there are more" in said) == (count < len(wanted))


@pytest.mark.parametrize("order", ["--newest-first", "--oldest-first"])
def test_few_of_many_then_the_rest_is_not_read_and_one_page_follows_the_other(
    bootstrap: str, world: World, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    monkeypatch.setattr(decisions, "WINDOW_RECORDS", 3)
    monkeypatch.setattr(decisions, "CLOCKS_DIFFER_MS", 0)
    _, _, said = asked(bootstrap, order, "--count", "2")
    read = re.search(r"(\d+) records read", said)
    assert read is not None and int(read[1]) < len(world.desk.answered) / 2
    found = re.search(r"more: (.*) goes on", said)
    assert found is not None
    go_on = found[1].split()
    four = asked(bootstrap, "--json", "--count", "4", order)[1].splitlines()
    two = [asked(bootstrap, "--json", "--count", "2", order, *further)[1].splitlines() for further in ([], go_on)]
    assert [*two[0], *two[1]] == four


def test_table_then_who_when_what_and_why(bootstrap: str) -> None:
    code, text, _ = asked(bootstrap, DENIED)
    assert code == 0
    for words in ("A.denied: BUY 0 ACME at 100.0000 DAY", "denied", "QTY_NOT_POSITIVE, qty 0", "the same answer"):
        assert words in text
    _, text, _ = asked(bootstrap, "--account", "C")
    assert "shortfall_cash_e4" in text and "ann for C" in text and "set_account open" in text


def test_command_then_who_gave_it_where_that_was_recorded(bootstrap: str) -> None:
    rows = [json.loads(line) for line in asked(bootstrap, "--account", "B", "--json")[1].splitlines()]
    givers = {row["command_id"]: row.get("who") for row in rows if row["type"] == "command_result"}
    assert givers == {"open": ANN.model_dump(), "cash": None}


def test_order_that_nobody_sent_then_2_and_how_long_decisions_are_kept(bootstrap: str) -> None:
    code, text, said = asked(bootstrap, "A.none")
    assert (code, text) == (2, "")
    assert "no decision on A.none" in said and "31 days" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["--reason", "cash"],
        ["--since", "yesterday"],
        ["--since", "2026-11-30T10:00:00"],
        ["--since", "2026-11-30T10:00:00Z", "--until", "2026-11-30T10:00:00Z"],
        ["A.o1", "--account", "B"],
        ["--count", "0"],
    ],
)
def test_question_that_makes_no_sense_then_usage(bootstrap: str, arguments: list[str]) -> None:
    assert asked(bootstrap, *arguments)[0] == 2


def test_log_that_is_not_there_then_said() -> None:
    code, _, said = asked("127.0.0.1:1", "--account", "A")
    assert code == 1 and "error" in said


def test_decisions_are_kept_for_30_days_at_least() -> None:
    assert RISK_DECISIONS.retention_ms >= 30 * 86_400_000
