"""A whole deployment for end-to-end tests: real parts, the five services as processes, ports of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from streams.process.settings import KafkaSettings, RedisSettings, Settings
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import synthetic_feed
from tidemark.state import StateDir

SYNTHETIC = synthetic_feed(seed=7, rate_per_s=2_000, symbols=20)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """A fleet that trades a small synthetic market, with every stage that a deployment may have."""
    options = DeploymentOptions(
        any_free_ports=True, feed=SYNTHETIC, keep=False, environment={"TIDEMARK_TRADER_SESSIONS": '["gap:30s"]'}
    )
    async with Deployment(StateDir(tmp_path_factory.mktemp("fleet")), options) as running:
        yield running


@pytest.fixture
def settings(deployment: Deployment) -> Settings:
    """For readers and senders of the test."""
    return Settings(
        kafka=KafkaSettings(bootstrap=deployment.addresses.kafka_bootstrap),
        redis=RedisSettings(url=deployment.addresses.redis_url),
        data_dir=Path(deployment.addresses.data_dir),
    )
