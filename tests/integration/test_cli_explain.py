"""``tidemark explain`` and ``tidemark calibrate`` on a real log that a gate has written."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from common.contracts.topics import REF_INSTRUMENTS, RISK_BASIS, RISK_CONTROLS, RISK_DECISIONS, RISK_LEDGER, Topic
from common.contracts.values import E4
from common.fleet_topics import create_topics
from common.testing.controls import propose, resolve
from common.testing.orders import fund, intent, set_account
from parts import LocalStack
from risk.domain.gate import Limits
from tidemark.main import app
from typer.testing import CliRunner

from tests.risk.conftest import PARTITION, Desk

RUNNER = CliRunner(env={"COLUMNS": "250", "TERM": "dumb"})


def traded() -> Desk:
    """A desk that has accepted two orders and denied one, the last two under limits that people set."""
    desk = Desk(Limits())
    desk.send(set_account("A"))
    desk.send(fund("A", command_id="cash", cash_e4=10_000 * E4))
    desk.decide(intent("o1", "A", qty=5, limit_price_e4=104 * E4))
    desk.control(propose("p1", values={"order_qty_max": 4}))
    desk.control(resolve("r1", "p1"))
    desk.decide(intent("o2", "A", qty=5))
    desk.decide(intent("o3", "A", qty=4))
    return desk


async def _fill(bootstrap: str, desk: Desk) -> None:
    await create_topics(bootstrap, [RISK_DECISIONS, RISK_LEDGER, RISK_BASIS, RISK_CONTROLS, REF_INSTRUMENTS])
    records: Mapping[Topic, list[Any]] = {
        RISK_DECISIONS: desk.answered,
        RISK_LEDGER: desk.ledger,
        RISK_BASIS: desk.basis,
        RISK_CONTROLS: desk.controls,
    }
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for topic, bodies in records.items():
            for body in bodies:
                value = topic.schema.encode(body)
                await producer.send_and_wait(topic.name, value, body.account_id.encode(), partition=PARTITION)
        for key, row in desk.tables.globals("instruments").items():
            await producer.send_and_wait(REF_INSTRUMENTS.name, REF_INSTRUMENTS.schema.encode(row.value), key)


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    with LocalStack({"kafka"}) as running:
        asyncio.run(_fill(running.addresses.kafka_bootstrap, traded()))
        yield running.addresses.kafka_bootstrap


def asked(bootstrap: str, *arguments: str) -> tuple[int, str]:
    ended = RUNNER.invoke(app, [*arguments, "--bootstrap", bootstrap])
    return ended.exit_code, ended.output


def test_explain_an_order_then_limits_balance_mark_code_and_the_same_bytes(bootstrap: str) -> None:
    code, text = asked(bootstrap, "explain", "A.o2")
    assert code == 0, text
    for words in (
        "A.o2: BUY 5 ACME at 1000000",
        "denied: QTY_TOO_LARGE",
        "firm version 1 (controls 2), account version 0",
        "after ledger entry 2: cash 100000000, reserved 5200000",
        "md.marks 3/0: bid 990000",
        "release 1.0",
        "checks that changed: none",
        "the same bytes",
    ):
        assert words in text


def test_explain_as_json_then_every_number_that_the_checks_saw(bootstrap: str) -> None:
    code, text = asked(bootstrap, "explain", "A.o1", "--json")
    facts = json.loads(text)
    assert (code, facts["same"], facts["limits"]["values"]["order_qty_max"]) == (0, True, 1_000_000)
    assert facts["account"]["balance_seq"] == 1


def test_explain_all_then_how_many_come_out_the_same(bootstrap: str) -> None:
    assert asked(bootstrap, "explain") == (0, "3 decisions executed again: 3 the same, 0 other\n")
    assert asked(bootstrap, "explain", "--account", "B") == (0, "0 decisions executed again: 0 the same, 0 other\n")


def test_explain_an_order_that_nobody_sent_then_2(bootstrap: str) -> None:
    code, text = asked(bootstrap, "explain", "A.o9")
    assert (code, "no decision on A.o9" in text) == (2, True)


def test_calibrate_then_the_verdicts_that_change(bootstrap: str) -> None:
    code, text = asked(bootstrap, "calibrate", "--collar", "2%,5%", "--limit", "order_qty_max=3,9", "--json")
    assert code == 0, text
    changed = [json.loads(line) for line in text.splitlines()]
    assert [(each["scenario"], each["order_id"], each["was"], each["would_be"]) for each in changed] == [
        ("collar 2%", "A.o1", "accepted", "PRICE_OUTSIDE_COLLAR"),
        ("order_qty_max=3", "A.o1", "accepted", "QTY_TOO_LARGE"),
        ("order_qty_max=9", "A.o2", "QTY_TOO_LARGE", "accepted"),
        ("order_qty_max=3", "A.o3", "accepted", "QTY_TOO_LARGE"),
    ]
    table = asked(bootstrap, "calibrate", "--collar", "2%", "--day", "2023-11-14")[1]
    assert "collar 2%" in table and "PRICE_OUTSIDE_COLLAR" in table
    assert "PRICE_OUTSIDE_COLLAR" not in asked(bootstrap, "calibrate", "--collar", "2%", "--day", "2023-11-15")[1]


@pytest.mark.parametrize(
    "arguments", [[], ["--collar", "x%"], ["--collar", "2.345%"], ["--limit", "order_qty_max"], ["--limit", "a=1.5"]]
)
def test_calibrate_when_no_scenario_is_named_then_usage(bootstrap: str, arguments: list[str]) -> None:
    assert asked(bootstrap, "calibrate", *arguments)[0] == 2


def test_calibrate_when_a_limit_is_unknown_then_it_is_named(bootstrap: str) -> None:
    code, text = asked(bootstrap, "calibrate", "--limit", "nothing=1")
    assert (code, "nothing" in text) == (1, True)
