"""Fixtures for tests against real parts: one stack per test session, names of its own for every test."""

import contextlib
import os
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from parts import LocalStack, PartsError, Stack
from parts.native_jaeger import find_jaeger


def pytest_collection_finish(session: pytest.Session) -> None:
    """Compiles Jaeger, where it has to be, before the first test begins: no test's time limit is meant for that."""
    wanted = any(item.get_closest_marker("jaeger") for item in session.items)
    if wanted and not session.config.option.collectonly and os.environ.get("TIDEMARK_PARTS") != "docker":
        with contextlib.suppress(PartsError):  # the test that needs it says so
            find_jaeger()


@pytest.fixture(autouse=True)
def default_partitions() -> Iterator[None]:
    """Forgets what a test's clusters said of the co-partition groups: it is not for the next test."""
    from common.contracts.topics import GROUPS
    from streams.model.topics import DEFAULT_PARTITIONS

    yield
    for group in GROUPS:
        group.partitions = DEFAULT_PARTITIONS


@pytest.fixture(scope="session")
def local_stack() -> Iterator[LocalStack]:
    """The running stack of this session. Tests that kill parts start one of their own."""
    with LocalStack() as running:
        yield running


@pytest.fixture(scope="session")
def stack(local_stack: LocalStack) -> Stack:
    """Addresses at which a real Kafka, Redis and PostgreSQL answer."""
    return local_stack.addresses


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """A name that no other test has, for topics, groups, transactional ids and keys: ``<test>-<8 hex digits>``."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40]
    return f"{name}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
async def postgres_dsn(stack: Stack) -> AsyncIterator[str]:
    """The DSN of an empty database that only this test has; dropped afterwards."""
    import asyncpg

    name = f"test_{uuid.uuid4().hex}"
    administration = await asyncpg.connect(stack.postgres_dsn)
    try:
        await administration.execute(f"CREATE DATABASE {name}")
        yield urlunsplit(urlsplit(stack.postgres_dsn)._replace(path=f"/{name}"))
        await administration.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await administration.close()


@pytest.fixture
async def redis_url(stack: Stack) -> AsyncIterator[str]:
    """The URL of an empty Redis database that only this test of this session has; emptied afterwards."""
    from redis.asyncio import Redis

    async with Redis.from_url(stack.redis_url) as client:
        await client.flushdb()
        yield stack.redis_url
        await client.flushdb()


@pytest.fixture
def issuer(tmp_path: Path) -> Any:
    """An issuer with its files in a directory of the test's own (``common.testing.access``)."""
    from common.testing.access import IssuerForTests

    (tmp_path / "issuer").mkdir()
    return IssuerForTests(tmp_path / "issuer")
