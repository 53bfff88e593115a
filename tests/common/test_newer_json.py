"""JSON of a newer release: told from what is damaged, and held back where it stands."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from common.contracts.topics import ORDERS_CANCELS, ORDERS_INTENTS, RISK_COMMANDS, RISK_DECISIONS, Topic
from streams.model.declaration import Stage
from streams.model.message import Message, Output
from streams.model.tables import Tables
from streams.model.topics import changelog_topic
from streams.testing.driver import StageDriver, Unsettled

INTENT = {
    "account_id": "a",
    "client_order_id": "o-1",
    "symbol": "CEFI",
    "side": "B",
    "order_type": "LIMIT",
    "time_in_force": "DAY",
    "qty": 5,
    "limit_price_e4": 400_000,
    "sent_ns": 17,
}
FUND = {"type": "fund", "command_id": "c", "account_id": "a", "cash_e4": 5, "qty": 0, "sent_ns": 1}
CANCEL = {"account_id": "a", "order_id": "a.o", "sent_ns": 1}
MASS_CANCEL = {"type": "mass_cancel", "account_id": "a", "sent_ns": 1, "intents_offset": 4}
DECISION = {
    "type": "decision",
    "account_id": "a",
    "client_order_id": "o-1",
    "order_id": "a.o-1",
    "accepted": True,
    "intent": INTENT,
    "account_seq": 1,
    "decided_ns": 2,
    "intent_partition": 0,
    "intent_offset": 3,
}


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        (ORDERS_INTENTS, INTENT | {"desk": "A7"}),
        (ORDERS_INTENTS, INTENT | {"desk": "A7", "legs": [{"qty": 1}]}),
        (RISK_COMMANDS, FUND | {"desk": "A7"}),
        (RISK_DECISIONS, DECISION | {"intent": INTENT | {"desk": "A7"}}),
        (ORDERS_CANCELS, CANCEL | {"desk": "A7"}),
        (ORDERS_CANCELS, MASS_CANCEL | {"desk": "A7"}),
    ],
)
def test_sound_json_with_a_field_more_when_asked_then_newer(topic: Topic, value: Any) -> None:
    assert topic.schema.is_newer(json.dumps(value).encode())


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"not json",
        b"{}",
        b"[]",
        b'{"desk":"A7"}',
        json.dumps(INTENT).encode(),
        json.dumps(INTENT | {"desk": "A7", "qty": "many"}).encode(),
        json.dumps({name: each for name, each in INTENT.items() if name != "side"} | {"desk": "A7"}).encode(),
        b"\0\0\0\0\1damaged",
    ],
)
def test_anything_else_when_asked_then_not_newer(value: bytes) -> None:
    assert not ORDERS_INTENTS.schema.is_newer(value)


def test_newer_json_on_an_input_then_what_is_before_it_is_handled_and_it_is_held_back_and_not_set_aside() -> None:
    source, target = (Topic(name, "account_id", ORDERS_INTENTS.schema, partitions=1) for name in ("in", "out"))

    def handle(message: Message, tables: Tables, now_ns: int) -> Iterator[Output]:
        yield Output(target, b"a", message.body, 0)

    stage = Stage("test", "copy", handle, (source,), (target,), changelog_topic("test", "copy", 1))
    with StageDriver([stage]) as driver:
        driver.send_value(source, json.dumps(INTENT).encode(), b"a")
        with pytest.raises(Unsettled, match="a newer release has written in/0 at 1"):
            driver.send_value(source, json.dumps(INTENT | {"desk": "A7"}).encode(), b"a")
        assert len(driver.read(target)) == 1
        assert driver.dead_letters(source) == []
