"""The whole fleet on 48 partitions: somebody trades on each, where the account belongs, and the audit agrees."""

from pathlib import Path

import pytest
from common.contracts.topics import ACCOUNTS, MARKET, MD_MARKS, ORDERS_EVENTS, RISK_DECISIONS
from streams.edges.reader import CommittedReader
from streams.kafka.partitioner import partition_of
from tidemark.chaos.storm import traders
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import synthetic_feed
from tidemark.load.trial import Crowd, TrialOptions
from tidemark.options import reader_settings
from tidemark.quotes import QuoteBoard
from tidemark.state import StateDir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
EVERY = 48
SYMBOLS = 60


async def test_fleet_when_there_are_48_partitions_then_each_account_trades_on_its_own(tmp_path: Path) -> None:
    feed = synthetic_feed(seed=16, rate_per_s=500, symbols=SYMBOLS)
    options = DeploymentOptions(
        any_free_ports=True, feed=feed, keep=False, partitions={"accounts": EVERY, "market": EVERY}
    )
    async with (
        Deployment(StateDir(tmp_path), options) as deployment,
        QuoteBoard(deployment.addresses.redis_url) as quotes,
    ):
        assert ACCOUNTS.partitions == MARKET.partitions == EVERY
        crowd = Crowd(deployment, quotes, print)
        await crowd.open_for(traders())
        outcome = await crowd.trial(TrialOptions("many", over_http=200, http_per_s=20, through_topic=2_000))
        assert outcome.unanswered == 0
        assert outcome.audit.fills > 0
        assert [c for c in outcome.audit.comparisons if not c.is_sound] == []
        assert outcome.violations == 0
        found = await _partitions_by_key(deployment)
    keys = {key: number for (topic, key), number in found.items() if topic != MD_MARKS.name}
    assert set(keys.values()) == set(range(EVERY))
    assert [key for key, number in keys.items() if partition_of(key, EVERY) != number] == []
    assert len({number for (topic, _), number in found.items() if topic == MD_MARKS.name}) == EVERY


async def _partitions_by_key(deployment: Deployment) -> dict[tuple[str, bytes], int]:
    found: dict[tuple[str, bytes], int] = {}
    topics = (RISK_DECISIONS, ORDERS_EVENTS, MD_MARKS)
    settings = reader_settings(deployment.addresses)
    async with CommittedReader(settings, topics, from_beginning=True, client_id="test") as reader:
        ends = await reader.ends()
        async for messages in reader.batches():
            for message in messages:
                number = found.setdefault((message.topic.name, message.key or b""), message.partition)
                assert number == message.partition
            if all(reader.positions.get(place, 0) >= end for place, end in ends.items()):
                return found
    raise AssertionError("the reader ended")
