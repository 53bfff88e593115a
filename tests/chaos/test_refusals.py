"""How the storm knows that something refuses as it must, which hand helps, and that damage to a store is noticed."""

import os
import random
from pathlib import Path
from typing import Any

import pytest
from common.contracts.topics import ORDERS_CANCELS, ORDERS_EVENTS, ORDERS_LIFECYCLE_CHANGELOG
from streams.model.log import Partition, Record
from streams.opening.claims import OWNER_KEY
from streams.state.store import RocksStore, read_store, row_key
from streams.state.store_errors import CorruptStore
from streams.testing.memory_log import MemoryLog
from tidemark.chaos.refusals import Expected, commands, rows_since
from tidemark.chaos.store_faults import damage
from tidemark.stages import stage_named

CANCELS = ORDERS_CANCELS.name
RECREATED = (
    f"topic {CANCELS} is A/b, and the state was made from A/a: it is another log; "
    f"see `tidemark stage seek orders.lifecycle {CANCELS} --partition {{}}`"
)


def page(**partitions: dict[str, Any]) -> dict[str, Any]:
    """A ready page of orders."""
    detail = {"partitions": {name.removeprefix("p"): said for name, said in partitions.items()}}
    return {"ready": False, "checks": {"stage lifecycle": {"ready": False, "detail": detail}}}


def refused(number: int) -> dict[str, Any]:
    return {"state": "refused", "reason": RECREATED.format(number)}


EXPECTED = Expected(
    "orders", stage_named("orders.lifecycle"), frozenset({1, 2}), (CANCELS, "stage seek"), (ORDERS_EVENTS,)
)


@pytest.mark.parametrize(
    ("report", "numbers"),
    [
        (page(p1=refused(1), p2=refused(2)), {1, 2}),
        (page(p1=refused(1), p2={"state": "running", "done": 1}), {1}),
        (page(p1={"state": "refused", "reason": f"topic {CANCELS} was deleted while it was read"}), set()),
        (page(p3=refused(3)), set()),
        ({}, set()),
    ],
)
def test_refusal_when_a_ready_page_says_this_then_these_partitions_refuse_as_they_must(
    report: dict[str, Any], numbers: set[int]
) -> None:
    assert set(EXPECTED.refused(report)) == numbers


def test_refusals_when_they_name_commands_then_each_is_carried_out_once() -> None:
    reasons = [RECREATED.format(1), RECREATED.format(2), RECREATED.format(1), "without a command"]
    assert commands(reasons) == [
        ["stage", "seek", "orders.lifecycle", CANCELS, "--partition", str(number)] for number in (1, 2)
    ]


async def test_rows_when_only_an_owner_was_noted_then_nothing_was_written() -> None:
    changelog = ORDERS_LIFECYCLE_CHANGELOG
    log, place = MemoryLog({changelog.name: changelog.partitions}), Partition(changelog.name, 1)
    assert [str(each) for each in EXPECTED.watched()][:2] == [str(place), f"{changelog.name}/2"]

    async def write(key: bytes) -> None:
        producer = await log.fence("owner")
        await producer.begin()
        await producer.append(place, [Record(key, b"value", 0)])
        await producer.commit()

    await write(b"before")
    start = await log.high_watermark(place)
    await write(OWNER_KEY)
    assert await rows_since(log, place, start) == 0
    await write(b"orders/a")
    assert await rows_since(log, place, start) == 1


@pytest.mark.parametrize("seed", range(8))
def test_store_when_damaged_then_whoever_reads_it_says_so(seed: int, tmp_path: Path) -> None:
    path, rows = tmp_path / "store", [(row_key("accounts", b"%04d" % n), os.urandom(40)) for n in range(400)]
    for part in range(2):  # closed in between, so that there is a table file
        store = RocksStore(path)
        store.write(rows[part * 200 : part * 200 + 200], part + 1)
        store.close()
    assert len(dict(read_store(path))) > 400
    assert (path / damage(path, random.Random(seed))).exists()

    def read_all() -> None:
        store = RocksStore(path)
        try:
            store.changelog_offset(), list(store.prefix(row_key("accounts", b"")))
        finally:
            store.close()

    with pytest.raises(CorruptStore):
        read_all()
