"""State of a Redis that takes writes: from its own words, and from how it refuses."""

from typing import Any, Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError

from streams.views.protocol import RedisState

_READ_ONLY_REASONS: Final = ("READONLY", "MISCONF", "NOREPLICAS")
"""Replicas, servers that cannot save and were told to stop then, and those without the replicas that they must have."""
_AWAY_REASONS: Final = ("LOADING", "MASTERDOWN", "CLUSTERDOWN")


class RedisFacts(NamedTuple):
    """Facts from ``INFO``. ``evicted_keys`` counts since the server's start; -1 where it is not said."""

    state: RedisState
    policy: str
    evicted_keys: int
    run_id: str

    @property
    def may_evict(self) -> bool:
        """Views have no time to live, so that only policies over all keys throw them away."""
        return self.policy.startswith("allkeys")


UNKNOWN_FACTS: Final = RedisFacts(RedisState.UNKNOWN, "", -1, "")


async def read_facts(client: Redis) -> RedisFacts:
    """Asks for ``INFO``; unknown where the server refuses to say it. Raises OSError, and RedisError of a lost one."""
    pipe = client.pipeline(transaction=False)
    for section in ("memory", "stats", "replication", "server"):
        pipe.info(section)
    facts: dict[str, Any] = {}
    for answer in await pipe.execute(raise_on_error=False):
        if isinstance(answer, RedisError):
            if state_of_error(answer) is RedisState.UNREACHABLE:
                raise answer
            return UNKNOWN_FACTS
        facts |= answer
    return RedisFacts(
        _state(facts), str(facts.get("maxmemory_policy", "")), int(facts.get("evicted_keys", -1)), str(facts["run_id"])
    )


def _state(facts: dict[str, Any]) -> RedisState:
    if facts.get("role") == "slave" and facts.get("slave_read_only", 1):
        return RedisState.READ_ONLY
    limit = int(facts.get("maxmemory", 0))
    if limit and int(facts.get("used_memory", 0)) >= limit and not str(facts["maxmemory_policy"]).startswith("allkeys"):
        return RedisState.FULL
    return RedisState.OK


def state_of_error(error: BaseException) -> RedisState:
    """The server's state as a failed command tells it."""
    text = str(error)
    if isinstance(error, OutOfMemoryError) or "OOM command not allowed" in text:
        return RedisState.FULL
    if isinstance(error, ReadOnlyError) or any(reason in text for reason in _READ_ONLY_REASONS):
        return RedisState.READ_ONLY
    if isinstance(error, OSError | ConnectionError | TimeoutError) or _is_away(error, text):
        return RedisState.UNREACHABLE
    return RedisState.UNKNOWN


def _is_away(error: BaseException, text: str) -> bool:
    lost = type(error).__name__ in {"ConnectionError", "TimeoutError", "BusyLoadingError", "MasterDownError"}
    return lost or any(reason in text for reason in _AWAY_REASONS)
