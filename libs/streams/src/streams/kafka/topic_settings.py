"""Target settings of a topic on the broker, how the actual ones differ, and what a difference means.

Everything is derived from the topic table: topics are created with these settings, stages hold them to them at each
start, and ``tidemark topics`` shows and repairs what differs. A difference endangers money where records or rows that
somebody still needs can be lost or land where nobody looks for them; another is a warning.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from streams.model.topics import DAY_MS, Topic

PARTITIONS: Final = "partitions"
"""Name of a drift that no setting mends: Kafka takes no partition away, and one more moves keys."""
REPLICAS: Final = "replicas"
REPLICAS_WANTED: Final = 3
TOMBSTONES_MS: Final = DAY_MS
"""How long a changelog must keep tombstones: a store that was left for less reads the deletions that it has missed."""
MESSAGE_BYTES: Final = 1_048_588
"""Kafka's own default; a transaction's batches are made for it."""
FOR_EVER: Final = "-1"
ANY_CLOCK: Final = str(2**63 - 1)
"""Brokers refuse a record that is an hour ahead of their clock: a worker whose clock is wrong would stand still."""


class Setting(NamedTuple):
    """One setting of a topic: its value, which found values do as well, and what another one leads to."""

    name: str
    value: str
    fits: Callable[[str], bool]
    otherwise: str
    endangers: bool


class FoundTopic(NamedTuple):
    """A topic as the broker has it. ``settings`` is empty where the broker does not show them."""

    partitions: int
    replicas: int
    settings: Mapping[str, str]


class FoundTopics(NamedTuple):
    """Topics as a cluster of so many brokers has them."""

    brokers: int
    topics: Mapping[str, FoundTopic]


class Drift(NamedTuple):
    """One difference between a topic and what it should be."""

    topic: str
    setting: str
    wanted: str
    found: str
    otherwise: str
    endangers: bool

    @property
    def can_be_set(self) -> bool:
        """Whether a setting of the topic mends it."""
        return self.setting not in {PARTITIONS, REPLICAS}

    def __str__(self) -> str:
        remedy = "`tidemark topics fix` sets it" if self.can_be_set else "see `tidemark topics diff`"
        said = f"topic {self.topic}: {self.setting} is {self.found}, should be {self.wanted}"
        return f"{said}: {self.otherwise}; {remedy}"


def _at_least(least: int) -> Callable[[str], bool]:
    """-1 stands for no limit."""
    return lambda found: int(found) < 0 or int(found) >= least


def _is(value: str) -> Callable[[str], bool]:
    return lambda found: found == value


def in_sync(replicas: int) -> int:
    """Replicas that must have a record before it is acknowledged: all but one, and no fewer than two of three."""
    return max(1, min(2, replicas - 1))


def settings_of(topic: Topic, replicas: int, *, holds_state: bool = False) -> tuple[Setting, ...]:
    """Settings for the topic's creation. ``holds_state``: it is a changelog, though its schema does not say so."""
    holds_state = holds_state or topic.holds_state
    kept = _compacted(topic, holds_state) if holds_state or topic.cleanup == "compact" else _deleted(topic)
    enough = in_sync(replicas)
    common = (
        Setting(
            "min.insync.replicas",
            str(enough),
            lambda found: enough <= int(found) <= replicas,
            "fewer let a broker that dies take acknowledged records along, and more than there are let nobody write",
            endangers=False,
        ),
        Setting(
            "unclean.leader.election.enable",
            "false",
            _is("false"),
            "a replica that lacks acknowledged records may become the leader",
            endangers=False,
        ),
        Setting(
            "max.message.bytes",
            str(MESSAGE_BYTES),
            _at_least(MESSAGE_BYTES),
            "large batches are refused",
            endangers=False,
        ),
        Setting(
            "message.timestamp.after.max.ms",
            ANY_CLOCK,
            _is(ANY_CLOCK),
            "records of a worker whose clock is ahead are refused",
            endangers=False,
        ),
    )
    own = dict(topic.config)
    return (*(each for each in (*kept, *common) if each.name not in own), *_as_declared(own))


def _compacted(topic: Topic, holds_state: bool) -> tuple[Setting, ...]:
    kept = Setting(
        "cleanup.policy",
        "compact",
        _is("compact"),
        "rows that nobody has written since are deleted, and a restore lacks them",
        endangers=holds_state,
    )
    retention = Setting(
        "retention.ms",
        str(topic.retention_ms),
        _at_least(topic.retention_ms) if topic.retention_ms >= 0 else _is(FOR_EVER),
        "it takes rows as soon as cleanup.policy has delete in it",
        endangers=False,
    )
    tombstones = Setting(
        "delete.retention.ms",
        str(TOMBSTONES_MS),
        _at_least(TOMBSTONES_MS),
        "a store that was left for longer keeps rows that were deleted meanwhile",
        endangers=holds_state,
    )
    return (kept, retention, tombstones) if holds_state else (kept, retention)


def _deleted(topic: Topic) -> tuple[Setting, ...]:
    for_ever = topic.retention_ms < 0
    lost = "entries of the books are deleted" if for_ever else "records expire before whoever was away has read them"
    return (
        Setting(
            "cleanup.policy",
            "delete",
            _is("delete"),
            "compaction takes records that are still needed",
            endangers=True,
        ),
        Setting(
            "retention.ms",
            str(topic.retention_ms),
            _is(FOR_EVER) if for_ever else _at_least(topic.retention_ms),
            lost,
            endangers=for_ever,
        ),
        Setting("retention.bytes", FOR_EVER, _is(FOR_EVER), lost, endangers=for_ever),
    )


def _as_declared(own: Mapping[str, str]) -> Iterator[Setting]:
    """Settings that the topic table gives a topic beside the rules here."""
    for name, value in own.items():
        yield Setting(name, value, _is(value), "the topic table says otherwise", endangers=False)


def drifts(topic: Topic, found: FoundTopic, brokers: int, *, holds_state: bool = False) -> Iterator[Drift]:
    """How a topic of a cluster of so many brokers differs from what it should be."""
    if found.partitions != topic.partitions:
        expects = f"its co-partition group {topic.group.name} has {topic.partitions}; " if topic.group else ""
        otherwise = f"{expects}keys lie on other partitions than their state, and what is on a new one is not read"
        yield Drift(topic.name, PARTITIONS, str(topic.partitions), str(found.partitions), otherwise, endangers=True)
    if found.replicas < (wanted := min(REPLICAS_WANTED, brokers)):
        otherwise = "the broker that has it alone may be lost"
        yield Drift(topic.name, REPLICAS, str(wanted), str(found.replicas), otherwise, endangers=False)
    for setting in settings_of(topic, found.replicas, holds_state=holds_state):
        value = found.settings.get(setting.name)
        if value is not None and not setting.fits(value):
            yield Drift(topic.name, setting.name, setting.value, value, setting.otherwise, setting.endangers)
