"""The local parts: they answer, come back with their data, and leave nothing behind."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from parts import LocalStack, PartsError, Stack
from parts.containers import why_not_docker
from parts.homes import Home, clear_stale
from parts.native_jaeger import OTHERS_PERCENT, SLOW_MS, NativeJaeger, configuration, tail_sampling
from redis.asyncio import Redis

DEADLINE_S = 30.0
REPOSITORY = Path(__file__).parents[2]


def until(condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Waits until the condition holds; fails after the deadline."""
    give_up_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < give_up_s, f"not within {deadline_s:.0f} s: {what}"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether the process is there and not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def descendants(pid: int) -> set[int]:
    """Every process below this one."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        except OSError:
            continue
    found: set[int] = set()
    while more := {child for child, parent in parents.items() if parent in found | {pid}} - found:
        found |= more
    return found


async def create_topic(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])
    finally:
        await admin.close()


async def topics(bootstrap: str) -> set[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        return set(await admin.list_topics())
    finally:
        await admin.close()


async def produce(bootstrap: str, topic: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    try:
        await producer.send_and_wait(topic, value, partition=0)
    finally:
        await producer.stop()


async def first_value(bootstrap: str, topic: str) -> bytes:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.seek_to_beginning()
        return bytes((await consumer.getone()).value)
    finally:
        await consumer.stop()


@pytest.fixture(scope="module")
def own() -> Iterator[LocalStack]:
    """A stack of this module's own: its parts are killed."""
    with LocalStack() as running:
        yield running


async def test_kafka_when_killed_and_restarted_then_topic_and_record_are_kept(own: LocalStack, prefix: str) -> None:
    bootstrap, killed = own.addresses.kafka_bootstrap, own.pid("kafka")
    await create_topic(bootstrap, prefix)
    await produce(bootstrap, prefix, b"kept")
    own.kill("kafka")
    assert not is_running(killed)
    with pytest.raises(PartsError, match="does not run"):
        own.pid("kafka")
    own.restart("kafka")
    assert own.pid("kafka") != killed
    assert own.addresses.kafka_bootstrap == bootstrap
    assert await first_value(bootstrap, prefix) == b"kept"
    await produce(bootstrap, prefix, b"and it takes more")


async def test_kafka_when_a_topic_is_not_created_then_it_does_not_appear(own: LocalStack, prefix: str) -> None:
    bootstrap = own.addresses.kafka_bootstrap
    await create_topic(bootstrap, prefix)
    found = await topics(bootstrap)
    assert prefix in found
    assert "tidemark.probe" not in found


async def test_redis_when_killed_and_restarted_then_keys_are_kept_unless_wiped(own: LocalStack) -> None:
    url = own.addresses.redis_url
    async with Redis.from_url(url) as redis:
        await redis.set("kept", "yes")
    own.kill("redis")
    own.restart("redis")
    async with Redis.from_url(url) as redis:
        assert await redis.get("kept") == b"yes"
    own.restart("redis", wipe=True)
    async with Redis.from_url(url) as redis:
        assert await redis.get("kept") is None


async def test_postgres_when_killed_and_restarted_then_committed_rows_are_kept(own: LocalStack) -> None:
    dsn = own.addresses.postgres_dsn
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    await connection.close()
    backends = descendants(own.pid("postgres"))
    own.kill("postgres")
    until(lambda: not any(map(is_running, backends)), "the server's own children end too")
    own.restart("postgres")
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval("SELECT answer FROM kept") == 42
    await connection.close()


async def test_two_stacks_when_up_together_then_they_share_nothing(own: LocalStack, prefix: str) -> None:
    await create_topic(own.addresses.kafka_bootstrap, prefix)
    with LocalStack() as other:
        assert prefix not in await topics(other.addresses.kafka_bootstrap)
        async with Redis.from_url(own.addresses.redis_url) as mine, Redis.from_url(other.addresses.redis_url) as its:
            await mine.set(prefix, 1)
            assert await its.get(prefix) is None
        pids = [other.pid(name) for name in ("kafka", "redis", "postgres")]
    assert not any(map(is_running, pids))
    assert prefix in await topics(own.addresses.kafka_bootstrap)


async def test_fixtures_when_asked_for_then_a_test_has_its_own_database(
    stack: Stack, postgres_dsn: str, redis_url: str
) -> None:
    assert postgres_dsn != stack.postgres_dsn
    connection = await asyncpg.connect(postgres_dsn)
    assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    await connection.close()
    async with Redis.from_url(redis_url) as redis:
        assert await redis.dbsize() == 0


def test_part_when_started_in_a_thread_that_has_ended_then_it_lives_on() -> None:
    stack = LocalStack({"redis"}, provider="native")
    starter = threading.Thread(target=stack.start)
    starter.start()
    starter.join()
    try:
        pid = stack.pid("redis")
        assert Path(f"/proc/{pid}/task").exists()
        assert is_running(pid)
    finally:
        stack.stop()
    assert not is_running(pid)


def test_data_when_kept_then_the_next_stack_in_the_directory_has_them(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)  # PostgreSQL runs as nobody where we are root, and must reach its files all the same
    with LocalStack({"redis", "postgres"}, data_dir=closed / "parts", keep=True, provider="native") as first:
        version = (closed / "parts" / "postgres" / "data" / "PG_VERSION").read_text(encoding="ascii")
        with pytest.raises(PartsError, match="another stack runs in"):
            LocalStack({"redis"}, data_dir=closed / "parts", keep=True, provider="native").start()
        assert first.addresses.redis_url
    assert (closed / "parts" / "postgres" / "data" / "PG_VERSION").read_text(encoding="ascii") == version
    with LocalStack({"redis", "postgres"}, data_dir=closed / "parts", provider="native"):
        pass
    assert not (closed / "parts" / "postgres").exists(), "not kept this time"


@pytest.mark.slow
async def test_kafka_when_kept_and_started_on_other_ports_after_a_kill_then_the_topic_is_there(tmp_path: Path) -> None:
    with LocalStack({"kafka"}, data_dir=tmp_path, keep=True, provider="native") as first:
        await create_topic(first.addresses.kafka_bootstrap, "kept")
        first.kill("kafka")
    with LocalStack({"kafka"}, data_dir=tmp_path, keep=True, provider="native") as second:
        assert second.addresses != first.addresses
        assert "kept" in await topics(second.addresses.kafka_bootstrap)


def test_port_when_taken_then_refused_before_anything_starts(own: LocalStack) -> None:
    taken = int(own.addresses.redis_url.rpartition(":")[2].partition("/")[0])
    with pytest.raises(PartsError, match=f"redis cannot start: port {taken} is taken"):
        LocalStack({"redis"}, ports={"redis": taken}, provider="native").start()


def test_part_when_it_ends_instead_of_starting_then_the_error_shows_its_log(tmp_path: Path) -> None:
    (tmp_path / "redis" / "data" / "appendonlydir").mkdir(parents=True)
    (tmp_path / "redis" / "data" / "appendonly.aof").write_bytes(b"not an append-only file" * 100)
    (tmp_path / "redis" / "data" / "appendonlydir" / "appendonly.aof.manifest").write_bytes(b"neither")
    with pytest.raises(PartsError, match=r"(?s)redis ended instead of starting: exit code 1.*append only file"):
        LocalStack({"redis"}, data_dir=tmp_path, provider="native").start()


def test_unknown_names_when_given_then_refused() -> None:
    with pytest.raises(PartsError, match="no such part: rabbit"):
        LocalStack({"rabbit"})
    with pytest.raises(PartsError, match="auto, docker, native"):
        LocalStack({"redis"}, provider="podman").start()


CRASHING = """
import json, sys, time
from parts import LocalStack
names = sys.argv[2:]
stack = LocalStack(names, provider=sys.argv[1])
stack.start()
data = str(stack._home_path) if sys.argv[1] == "native" else ""
print(json.dumps({"pids": [stack.pid(name) for name in names], "data": data}), flush=True)
time.sleep(600)
"""


def crash(provider: str, *names: str) -> tuple[set[int], str]:
    """Starts a stack in another process and kills that with SIGKILL; returns the parts' processes and data."""
    with subprocess.Popen(
        [sys.executable, "-c", CRASHING, provider, *names], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        line = owner.stdout.readline()
        assert line, "the stack did not start"
        said = json.loads(line)
        everything = set(said["pids"]) | {pid for each in said["pids"] for pid in descendants(each)}
        assert all(map(is_running, said["pids"]))
        os.kill(owner.pid, signal.SIGKILL)
    return everything, said["data"]


def test_parts_when_their_owner_is_killed_then_no_process_and_no_directory_is_left() -> None:
    processes, data = crash("native", "kafka", "redis", "postgres")
    assert len(processes) > 3, "PostgreSQL has children"
    until(lambda: not any(map(is_running, processes)), "every part's process ends")
    assert Path(data).is_dir()
    clear_stale()
    assert not Path(data).exists()


def test_directory_when_its_owner_lives_then_it_is_not_cleared_away() -> None:
    home = Home.temporary()
    try:
        clear_stale()
        assert home.path.is_dir()
    finally:
        home.release(remove=True)
    assert not home.path.exists()


@pytest.mark.slow
async def test_cluster_when_one_of_three_brokers_is_killed_then_the_topic_is_served() -> None:
    with LocalStack({"kafka"}, brokers=3, provider="native") as cluster:
        bootstrap = cluster.addresses.kafka_bootstrap
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic("replicated", num_partitions=3, replication_factor=3)])
        await admin.close()
        await produce(bootstrap, "replicated", b"before")
        cluster.kill("kafka-2")
        await produce(bootstrap, "replicated", b"after")
        assert await first_value(bootstrap, "replicated") == b"before"
        cluster.restart("kafka-2")
        assert cluster.pid("kafka-2") != cluster.pid("kafka-1")


@pytest.mark.slow
async def test_containers_when_killed_and_restarted_then_data_are_kept_and_a_crash_leaves_none(prefix: str) -> None:
    if reason := why_not_docker(frozenset({"kafka", "redis", "postgres"})):
        pytest.skip(reason)
    with LocalStack(provider="docker") as stack:
        await create_topic(stack.addresses.kafka_bootstrap, prefix)
        async with Redis.from_url(stack.addresses.redis_url) as redis:
            await redis.set("kept", "yes")
        for name in ("kafka", "redis", "postgres"):
            pid = stack.pid(name)
            stack.kill(name)
            assert not is_running(pid)
            stack.restart(name)
        assert prefix in await topics(stack.addresses.kafka_bootstrap)
        async with Redis.from_url(stack.addresses.redis_url) as redis:
            assert await redis.get("kept") == b"yes"
        connection = await asyncpg.connect(stack.addresses.postgres_dsn)
        assert await connection.fetchval("SELECT current_database()") == "tidemark"
        await connection.close()
    processes, _ = crash("docker", "redis")
    until(lambda: not any(map(is_running, processes)), "the guard removes the containers")


def test_jaeger_in_compose_then_it_samples_as_the_one_of_the_tests() -> None:
    written = yaml.safe_load((REPOSITORY / "compose" / "jaeger.yaml").read_text(encoding="utf-8"))
    assert written["processors"]["tail_sampling"] == tail_sampling(OTHERS_PERCENT)
    assert written["service"]["pipelines"] == configuration(1, 2, 3)["service"]["pipelines"]


def exported(trace_id: str, milliseconds: int = 1, *, failed: bool = False, asked: bool = False) -> dict[str, Any]:
    """A trace of one span, as OTLP has it."""
    now_ns = time.time_ns()
    span = {
        "traceId": trace_id * 32,
        "spanId": "eee19b7ec3c1b174",
        "name": "hello",
        "kind": 1,
        "startTimeUnixNano": str(now_ns - milliseconds * 1_000_000),
        "endTimeUnixNano": str(now_ns),
        "status": {"code": 2 if failed else 0},
        "attributes": [{"key": "tidemark.client_sampled", "value": {"boolValue": asked}}],
    }
    service = {"attributes": [{"key": "service.name", "value": {"stringValue": "probe"}}]}
    return {"resourceSpans": [{"resource": service, "scopeSpans": [{"spans": [span]}]}]}


@pytest.mark.slow
@pytest.mark.jaeger
async def test_jaeger_when_a_trace_was_asked_for_failed_or_slow_then_it_is_kept_and_others_are_not(
    tmp_path: Path,
) -> None:
    jaeger = NativeJaeger(tmp_path, others_percent=0)
    jaeger.start()
    try:
        async with httpx.AsyncClient() as client:
            ordinary = exported("1")
            kept = [exported("2", asked=True), exported("3", failed=True), exported("4", SLOW_MS + 100)]
            for batch in (ordinary, *kept):
                (await client.post(f"{jaeger.otlp_endpoint}/v1/traces", json=batch)).raise_for_status()
            found: set[str] = set()
            give_up_s = time.monotonic() + DEADLINE_S
            while len(found) < len(kept):
                assert time.monotonic() < give_up_s, found
                await asyncio.sleep(0.2)
                traces = (await client.get(f"{jaeger.address}/api/traces", params={"service": "probe"})).json()["data"]
                found = {trace["traceID"][0] for trace in traces or []}
            assert found == {"2", "3", "4"}
    finally:
        jaeger.stop()


@pytest.mark.slow
@pytest.mark.jaeger
async def test_jaeger_when_asked_for_then_an_exported_span_is_found() -> None:
    span = {
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": "eee19b7ec3c1b174",
        "name": "hello",
        "kind": 1,
        "startTimeUnixNano": str(time.time_ns()),
        "endTimeUnixNano": str(time.time_ns() + 1_000),
    }
    service = {"attributes": [{"key": "service.name", "value": {"stringValue": "probe"}}]}
    batch = {"resourceSpans": [{"resource": service, "scopeSpans": [{"spans": [span]}]}]}
    with LocalStack({"jaeger"}) as running:
        at = running.addresses
        assert (at.kafka_bootstrap, at.redis_url, at.postgres_dsn) == ("", "", "")
        async with httpx.AsyncClient() as client:
            (await client.post(f"{at.otlp_endpoint}/v1/traces", json=batch)).raise_for_status()
            give_up_s = time.monotonic() + DEADLINE_S
            while "probe" not in ((await client.get(f"{at.jaeger_url}/api/services")).json()["data"] or []):
                assert time.monotonic() < give_up_s, "the span does not appear"
                await asyncio.sleep(0.05)
