"""A stage on a real broker beside what operators and other programs do: it goes on, or stands still and says why."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from common.fleet_topics import create_topics
from common.testing import accidents, counting_worker
from parts import Stack
from streams.kafka.kafka_log import KafkaLog
from streams.model.errors import Fatal
from streams.model.log import Log, Partition, Reader, Record
from streams.process.settings import KafkaSettings, Settings
from streams.stage.runner import StageService
from structlog.testing import capture_logs

from tests.common.beside import Beside, measured, until


class JavaLike(RangePartitionAssignor):  # type: ignore[misc]
    """The Java client's range assignor sends no user data, where aiokafka's sends an empty string."""

    @classmethod
    def metadata(cls, topics: Any) -> ConsumerProtocolMemberMetadata:
        return ConsumerProtocolMemberMetadata(1, list(topics), None)


@pytest.fixture(autouse=True)
def logs_that_can_be_captured() -> Iterator[None]:
    """Lets every line of a stage through: they are looked at here, so nothing may be filtered away before."""
    before = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    yield
    structlog.configure(wrapper_class=before)


@pytest.fixture
async def beside(stack: Stack, prefix: str, tmp_path: Path) -> AsyncIterator[Beside]:
    log = KafkaLog(Settings(kafka=KafkaSettings(bootstrap=stack.kafka_bootstrap)), "test-waits")
    await log.start()
    beside = Beside(stack.kafka_bootstrap, prefix, tmp_path, log)
    await create_topics(stack.kafka_bootstrap, list(beside.topics.values()))
    yield beside
    await log.stop()


def ready(service: StageService) -> bool:
    return service.ready()[0]


def detail(service: StageService, name: str) -> Any:
    return service.ready()[1][name]


async def test_changelog_that_deletes_then_the_stage_serves_nothing_until_the_setting_is_right(beside: Beside) -> None:
    changelog = beside.topics["changelog"].name
    assert await beside.log.set_topics({changelog: {"cleanup.policy": "delete"}}) == {}
    await beside.feed(4)
    async with beside.stage() as service:
        await until(lambda: any(changelog in line for line in detail(service, "topics")), "the drift is not shown")
        await asyncio.sleep(1.0)
        assert not ready(service)
        assert await beside.outputs() == []
        assert beside.measured("tidemark_stage_refused", partition="0") == 1
        await beside.log.set_topics({changelog: {"cleanup.policy": "compact"}})
        await beside.until_outputs(4)
        await until(lambda: ready(service), "not ready again")
        assert beside.measured("tidemark_stage_refused", partition="0") == 0


async def test_changelog_that_begins_to_delete_while_it_is_served_then_the_stage_goes_on_and_is_not_ready(
    beside: Beside,
) -> None:
    changelog = beside.topics["changelog"].name
    async with beside.stage() as service:
        await until(lambda: ready(service), "not ready")
        await beside.log.set_topics({changelog: {"cleanup.policy": "delete"}})
        await until(lambda: not ready(service), "the drift was not seen")
        await beside.feed(4)
        await beside.until_outputs(4)
        line, *_ = detail(service, "topics")  # what endangers money comes first
        assert "`tidemark topics fix`" in line


async def test_partitions_added_while_the_stage_runs_then_it_stops_says_so_and_loses_nothing(beside: Beside) -> None:
    topic = beside.topics["input"].name
    async with beside.stage() as service:
        await beside.feed(4)
        await beside.until_outputs(4)
        client = AIOKafkaAdminClient(bootstrap_servers=beside.bootstrap)
        await client.start()
        await client.create_partitions({topic: NewPartitions(4)})
        await client.close()
        with capture_logs() as said:
            await until(lambda: not ready(service) and not service.tasks(), "it still serves")
        (refused,) = [line for line in said if line["event"] == "stage_refused"]
        assert f"topic {topic}: partitions is 4, should be 2" in refused["reasons"][0]
        await beside.feed(8, partitions=4)
        await asyncio.sleep(1.0)
        await beside.until_outputs(4)
        assert beside.measured("tidemark_topic_drift", topic=topic, setting="partitions", kind="danger") == 1


async def test_transaction_left_open_on_an_input_then_it_is_named_until_it_ends(beside: Beside) -> None:
    partition = Partition(beside.topics["input"].name, 0)
    async with beside.stage() as service:
        await beside.feed(2)
        await beside.until_outputs(2)
        stranger = await beside.log.fence("somebody-elses-job")
        await stranger.begin()
        await stranger.append(partition, [Record(b"x", b"never ended", 0)])
        await stranger.flush()
        await beside.feed(2)
        await until(lambda: bool(detail(service, "blocked")), "nobody is named")
        assert not ready(service)
        (who,) = detail(service, "blocked").values()
        assert who.startswith("transactional id somebody-elses-job (producer ")
        assert "from offset 1, since 20" in who
        labels = {"app": beside.prefix, "reader": beside.group, "topic": partition.topic, "partition": "0"}
        await until(lambda: measured("tidemark_unstable_records", **labels) == 2, "what waits is not counted")
        assert (measured("tidemark_blocked_seconds", **labels) or 0) >= 0.5
        await beside.until_outputs(3)  # the other partition's
        await stranger.commit()
        await beside.until_outputs(5)
        await until(lambda: ready(service), "not ready again")
        await stranger.close()


async def test_second_worker_with_the_id_of_the_first_then_the_first_ends_and_names_the_second(beside: Beside) -> None:
    async with beside.stage(where="here") as first:
        await beside.feed(4)
        await beside.until_outputs(4)
        async with beside.stage(where="there") as second:
            await until(lambda: first.crashed, "it goes on")
            assert isinstance(first.crash_reason, Fatal)
            assert "as worker 'one'" in str(first.crash_reason)
            assert "TIDEMARK_WORKER_ID" in str(first.crash_reason)
            await beside.feed(4)
            await beside.until_outputs(8)
            await until(lambda: ready(second), "the second does not serve")
            assert not second.crashed


@pytest.mark.parametrize("assignor", [RangePartitionAssignor, JavaLike])
async def test_stranger_that_joins_the_group_then_the_worker_keeps_its_partitions_and_names_it(
    beside: Beside, assignor: type[RangePartitionAssignor]
) -> None:
    async with beside.stage() as service:
        await until(lambda: ready(service), "not ready")
        async with beside.consumer(assignor) as stranger:
            await until(lambda: bool(detail(service, "strangers")), "the stranger is not seen")
            assert stranger.assignment() == set()
            assert beside.measured("tidemark_group_strangers") == 1
            await beside.feed(4)
            await beside.until_outputs(4)
            assert ready(service)
        await until(lambda: not detail(service, "strangers"), "the stranger is still there")


async def test_stranger_that_leads_the_group_then_the_worker_is_not_ready_until_it_is_gone(beside: Beside) -> None:
    async with beside.consumer(RangePartitionAssignor), beside.stage() as service:
        await until(lambda: "led by a stranger" in detail(service, "group"), "it was not noticed")
        assert not ready(service)
        await until(lambda: "aiokafka" in str(detail(service, "strangers")), "the stranger is not named")
        assert beside.measured("tidemark_group_trouble") == 1


async def test_group_that_a_stranger_has_with_another_protocol_then_the_stage_says_that_it_cannot_join(
    beside: Beside,
) -> None:
    async with beside.stage_later() as service:
        async with beside.consumer(RoundRobinPartitionAssignor):
            await service.start()
            await until(lambda: "cannot join group" in detail(service, "group"), "no reason is given")
            assert not ready(service)
        await beside.feed(4)
        await beside.until_outputs(4)
        await until(lambda: ready(service), "not ready once the stranger is gone")


async def test_group_offsets_that_somebody_sets_then_it_is_said_that_they_have_no_effect(beside: Beside) -> None:
    place = TopicPartition(beside.topics["input"].name, 0)
    async with beside.stage() as service:
        await beside.feed(4)
        await beside.until_outputs(4)
        with capture_logs() as said:
            await asyncio.sleep(1.0)
        assert [line for line in said if line["event"] == "group_offset_ignored"] == []
        membership = service._membership
        assert membership is not None
        assert await membership.set_by_others([Partition(*place)]) == {}
        await membership._consumer.commit({place: 0})  # as the group's tools do, which need the group to be empty
        service._resets._seen.clear()
        with capture_logs() as said:
            await asyncio.sleep(1.0)
    (line,) = [line for line in said if line["event"] == "group_offset_ignored"]
    assert (line["partition"], line["group_offset"], line["position"]) == (0, 0, 2)
    assert "`tidemark stage seek`" in line["reason"]


async def test_input_that_expires_before_an_open_reader_has_read_it_then_its_partition_stops_and_names_the_command(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, reads, read = beside.topics["input"], asyncio.Event(), KafkaLog.read

    async def pausing(log: Log, partition: Partition, offset: int) -> Reader:
        """A reader that stands still as a process does that is paused, or that its host keeps waiting."""
        reader = await read(log, partition, offset)  # type: ignore[arg-type]
        if partition.topic == topic.name:
            poll = reader.poll

            async def paused(timeout_ms: int) -> Any:
                await reads.wait()
                return await poll(timeout_ms)

            monkeypatch.setattr(reader, "poll", paused, raising=False)
        return reader

    monkeypatch.setattr(KafkaLog, "read", pausing)
    reads.set()
    async with beside.stage() as service:
        await beside.feed(8)
        await beside.until_outputs(8)
        reads.clear()
        await asyncio.sleep(0.7)  # the poll that is under way ends
        await beside.feed(20, partitions=1)
        await accidents.trim(beside.bootstrap, beside.log, topic, 0, 20)
        reads.set()
        await until(lambda: detail(service, "partitions")["0"]["state"] == "refused", "it goes on")
        reason = detail(service, "partitions")["0"]["reason"]
        assert "records expired unread" in reason
        assert f"`tidemark stage seek {beside.group} {topic.name} --partition 0`" in reason
        assert not ready(service)
        async with AIOKafkaProducer(bootstrap_servers=beside.bootstrap) as producer:
            await producer.send_and_wait(topic.name, b"m", b"a1", 1)
        await beside.until_outputs(9)  # the neighbour's


async def test_release_that_reads_one_more_input_then_workers_of_both_share_the_group_and_each_message_is_answered_once(
    beside: Beside,
) -> None:
    older = counting_worker.counting_stage(beside.prefix)
    extra = replace(beside.topics["input"], name=f"{beside.prefix}.extra")
    newer = replace(older, inputs=(*older.inputs, extra))
    await create_topics(beside.bootstrap, [extra])

    async def both_serve(first: StageService, second: StageService) -> None:
        await until(lambda: sorted([len(first.tasks()), len(second.tasks())]) == [1, 1], "one has no partition")
        await until(lambda: ready(first) and ready(second), "one is not ready")

    async with beside.stage("a", declared=older) as first:
        async with beside.stage("b", declared=older) as second:
            await both_serve(first, second)
            await beside.feed(4)
            await beside.until_outputs(4)
        async with beside.stage("b", declared=newer) as second:
            await both_serve(first, second)
            await beside.feed(4)
            await beside.until_outputs(8)
    async with beside.stage("a", declared=newer) as first, beside.stage("b", declared=newer) as second:
        await both_serve(first, second)
        await beside.feed(4, topic=extra)
        await beside.until_outputs(12)
