"""Bounds of what push asks of Redis."""

import pytest
from push.domain.hub import Hub, Open, Read
from push.domain.rows import Scope
from push.domain.topic import Topic
from push.latency import Latency
from push.redis_feed import RedisFeed
from push.settings import PushRedisSettings, PushSettings


@pytest.mark.parametrize(
    "actions",
    [[Open(Topic("book", str(n))) for n in range(3)], [Read(Scope("book", str(n))) for n in range(3)]],
    ids=["channels", "hashes"],
)
async def test_requests_when_redis_is_too_far_behind_then_the_session_is_given_up(actions: list[Open | Read]) -> None:
    feed = RedisFeed(PushSettings(redis=PushRedisSettings(actions_max=2)), Hub(10), Latency(60))
    feed.perform(actions)
    with pytest.raises(TimeoutError, match="2 requests wait for Redis"):
        await feed._fail_when_overrun()
