"""Fences: work ends while one is raised, others go on, and what was lifted lets the stage write behind it."""

import asyncio

import pytest
from common.contracts.fences import Fence
from common.contracts.topics import AUDITOR_FENCES, RISK_LEDGER
from streams.model.log import Partition, Record
from streams.opening.log_identity import Patience, last_record
from streams.state.fences import FenceRaised, FenceView, unless_fenced
from streams.testing.memory_log import MemoryLog

STAGE = "risk.gate"


def put(view: FenceView, fence: Fence) -> None:
    view.put(fence.key.encode(), AUDITOR_FENCES.schema.encode(fence), 0, 0)


@pytest.fixture
def view() -> FenceView:
    return FenceView(AUDITOR_FENCES)


def test_fence_of_a_partition_then_others_of_the_stage_and_other_stages_are_free(view: FenceView) -> None:
    put(view, Fence(stage=STAGE, partition=2, raised=True, reason="broken"))
    raised = view.of(STAGE, 2)
    assert str(raised) == (
        "fence risk.gate/2 is raised: broken; `tidemark fence lift risk.gate --partition 2` lifts it"
    )
    assert view.of(STAGE, 1) is None
    assert view.of("risk.other", 2) is None
    put(view, Fence(stage=STAGE, partition=2, raised=False, known=("2/7", "1/9")))
    assert view.of(STAGE, 2) is None
    assert view.known(STAGE, 2) == {7}


def test_fence_of_the_whole_stage_then_every_partition_stands_still(view: FenceView) -> None:
    put(view, Fence(stage=STAGE, raised=True, reason="broken"))
    assert "`tidemark fence lift risk.gate` lifts it" in str(view.of(STAGE, 0))
    assert view.of(STAGE, 3) is not None


def test_fence_that_cannot_be_read_then_it_counts_as_raised_until_a_readable_one_comes(view: FenceView) -> None:
    view.put(b"risk.gate/1", b'{"raised":"perhaps"}', 0, 5)
    assert "its record at offset 5 cannot be read" in str(view.of(STAGE, 1))
    assert view.known(STAGE, 1) == frozenset()
    put(view, Fence(stage=STAGE, partition=1, raised=False))
    assert view.of(STAGE, 1) is None


async def test_work_when_a_fence_is_raised_then_it_ends_and_nothing_is_begun_until_it_is_lifted(
    view: FenceView,
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    working = asyncio.create_task(unless_fenced(view, STAGE, 2, work))
    await begun.wait()
    put(view, Fence(stage=STAGE, partition=1, raised=True))
    await asyncio.sleep(0.01)
    assert not working.done()
    put(view, Fence(stage=STAGE, partition=2, raised=True, reason="broken"))
    with pytest.raises(FenceRaised, match="broken"):
        await working
    assert ended.is_set()
    begun.clear()
    with pytest.raises(FenceRaised, match="broken"):
        await unless_fenced(view, STAGE, 2, work)
    assert not begun.is_set()
    lifted = asyncio.create_task(view.until_lifted(STAGE, 2))
    await asyncio.sleep(0.01)
    assert not lifted.done()
    put(view, Fence(stage=STAGE, partition=2, raised=False))
    await asyncio.wait_for(lifted, 1)


async def test_work_when_it_fails_or_is_cancelled_then_as_without_a_fence(view: FenceView) -> None:
    async def fails() -> None:
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        await unless_fenced(view, STAGE, 2, fails)
    begun, ended = asyncio.Event(), asyncio.Event()

    async def waits() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    working = asyncio.create_task(unless_fenced(view, STAGE, 2, waits))
    await begun.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert ended.is_set()


async def test_last_record_when_asked_for_the_one_before_then_markers_and_aborted_ones_are_left_out() -> None:
    log, where = MemoryLog({RISK_LEDGER.name: 1}), Partition(RISK_LEDGER.name, 0)
    producer = await log.fence("gate")
    for value, ends in ((b"1", producer.commit), (b"2", producer.commit), (b"aborted", producer.abort)):
        await producer.begin()
        await producer.append(where, [Record(b"k", value, 0)])
        await ends()
    patience = Patience(1.0, "gate")
    last = await last_record(log, where, patience)
    assert last is not None and last.value == b"2"
    before = await last_record(log, where, patience, before=last.offset)
    assert before is not None and before.value == b"1"
    assert await last_record(log, where, patience, before=before.offset) is None
