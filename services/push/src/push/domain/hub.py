"""Subscriptions: clients subscribe to topics, topics open channels, channels feed mirrors, mirrors feed clients.

Each method takes an event and returns what is to be done about it at Redis; ``redis_feed.py`` does it and reports back.
A channel is opened with its first subscriber and closed with its last.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from push.domain.mirror import Mirror, Outcome
from push.domain.outbox import Outbox
from push.domain.rows import Delta, Position, Row, Scope
from push.domain.topic import Topic


class Open(NamedTuple):
    """Subscribe to the topic's channel, or pattern; report ``opened`` when Redis confirms."""

    topic: Topic


class Close(NamedTuple):
    """Unsubscribe from it."""

    topic: Topic


class ListScopes(NamedTuple):
    """Find the hashes of a whole view; report ``listed``."""

    topic: Topic


class Read(NamedTuple):
    """Report ``read_begins``, read the scope's hash, report ``read_ends``."""

    scope: Scope


Action = Open | Close | ListScopes | Read


@dataclass(slots=True)
class _Channel:
    """A topic with subscribers. ``unconfirmed`` counts opens that Redis has not answered: only the last one counts."""

    clients: dict[int, Outbox] = field(default_factory=dict)
    mirrors: dict[Scope, Mirror] = field(default_factory=dict)
    listed: bool = False
    """Whether the scopes of a whole view were looked up once."""


class Hub:
    """Knows every client and every channel; holds one mirror per scope, however many clients look at it."""

    def __init__(self, pending_max: int) -> None:
        self._pending_max = pending_max
        self._channels: dict[Topic, _Channel] = {}
        self._clients: dict[int, Outbox] = {}
        self._unconfirmed: dict[Topic, int] = {}
        self._online = False
        self.gaps = 0
        """Changes that did not follow the one before them, so that the hash was read again."""

    @property
    def clients(self) -> int:
        return len(self._clients)

    @property
    def channels(self) -> int:
        return len(self._channels)

    @property
    def behind(self) -> int:
        """Scopes whose mirror does not follow its channel at this moment."""
        return sum(not mirror.live for channel in self._channels.values() for mirror in channel.mirrors.values())

    # --- clients --------------------------------------------------------------------------------------------------

    def join(self, client: int, outbox: Outbox) -> None:
        self._clients[client] = outbox

    def leave(self, client: int) -> list[Action]:
        """The client is gone, and with it its subscriptions."""
        outbox = self._clients.get(client)
        actions = [action for topic in (outbox.topics if outbox else ()) for action in self.unsubscribe(client, topic)]
        self._clients.pop(client, None)
        return actions

    def subscribe(self, client: int, topic: Topic) -> list[Action]:
        """The client's snapshot follows as soon as the topic's rows are known."""
        outbox = self._clients[client]
        outbox.subscribe(topic)
        channel = self._channels.get(topic)
        if channel is not None:
            channel.clients[client] = outbox
            return []
        channel = self._channels[topic] = _Channel()
        channel.clients[client] = outbox
        if not topic.whole:
            self._mirror(channel, Scope(*topic))
        return self._open(topic)

    def unsubscribe(self, client: int, topic: Topic) -> list[Action]:
        """Nothing happens where the client did not have it."""
        channel = self._channels.get(topic)
        if not self._clients[client].unsubscribe(topic) or channel is None:
            return []
        del channel.clients[client]
        if channel.clients:
            return []
        del self._channels[topic]
        return [Close(topic)] if self._online else []

    def resync(self, client: int, topic: Topic) -> None:
        """The client missed something of ours: it gets the topic from scratch. Redis is not asked."""
        self._clients[client].reset(topic)

    def rows_of(self, topic: Topic) -> Iterable[Mapping[str, Row]] | None:
        """The topic's rows by scope; None before the first complete read."""
        channel = self._channels.get(topic)
        if channel is None or (topic.whole and not channel.listed):
            return None
        mirrors = channel.mirrors.values()
        return [mirror.rows for mirror in mirrors] if all(mirror.complete for mirror in mirrors) else None

    # --- Redis ----------------------------------------------------------------------------------------------------

    def connected(self) -> list[Action]:
        """A new connection: every channel is opened again, and every hash will be read again."""
        self._online = True
        return [action for topic in self._channels for action in self._open(topic)]

    def disconnected(self) -> None:
        """Nothing that was under way will end; the rows stay visible."""
        self._online = False
        self._unconfirmed.clear()
        for channel in self._channels.values():
            for mirror in channel.mirrors.values():
                mirror.behind()

    def doubt(self, views: Iterable[str]) -> list[Action]:
        """Writers have written these views anew: every hash of theirs that is looked at is read again."""
        actions: list[Action] = []
        for topic, channel in self._channels.items():
            if topic.name not in views or not self._online or topic in self._unconfirmed:
                continue  # a channel that opens reads everything anyway
            for mirror in channel.mirrors.values():
                mirror.doubt()
            actions += [ListScopes(topic)] if topic.whole else [Read(scope) for scope in channel.mirrors]
        return actions

    def opened(self, topic: Topic) -> list[Action]:
        """Redis confirmed a subscription: from here on no change is missed, so the hash can be read."""
        waiting = self._unconfirmed[topic] = max(0, self._unconfirmed.get(topic, 0) - 1)
        if waiting:
            return []
        del self._unconfirmed[topic]
        channel = self._channels.get(topic)
        if channel is None:
            return []
        if topic.whole:
            return [ListScopes(topic)]
        return [Read(scope) for scope in channel.mirrors]

    def listed(self, topic: Topic, scopes: Iterable[Scope]) -> list[Action]:
        """The scopes that have a hash. Those known from before are read again too: their hash may be gone."""
        channel = self._channels.get(topic)
        if channel is None:
            return []
        channel.listed = True
        for scope in scopes:
            self._mirror(channel, scope)
        if not channel.mirrors:
            self._reset(topic, channel)
        return [Read(scope) for scope, mirror in channel.mirrors.items() if not (mirror.live or mirror.reading)]

    def receive(self, delta: Delta) -> tuple[Outcome, list[Action]]:
        """A change came over a channel. With a Read where something is missing before it."""
        topic = Topic.of(delta.scope)
        channel = self._channels.get(topic)
        if channel is None:
            return Outcome.OLD, []
        mirror = channel.mirrors.get(delta.scope)
        if mirror is None:
            outcome = self._mirror(channel, delta.scope).receive(delta)
            return outcome, [Read(delta.scope)] if channel.listed else []
        outcome = mirror.receive(delta)
        if outcome is Outcome.APPLIED:
            for outbox in channel.clients.values():
                outbox.offer(topic, delta.row)
        elif outcome is Outcome.GAP:
            self.gaps += 1
            return outcome, [Read(delta.scope)]
        return outcome, []

    def read_begins(self, scope: Scope) -> Mirror | None:
        """The mirror to hand to ``read_ends``; None where no read is wanted. Call it right before sending."""
        topic = Topic.of(scope)
        channel = self._channels.get(topic)
        mirror = channel.mirrors.get(scope) if channel else None
        if mirror is None or mirror.live or mirror.reading:
            return None
        if topic in self._unconfirmed:
            return None  # asked for before the channel was closed and opened anew: nothing comes over it yet
        mirror.read_begins()
        return mirror

    def read_ends(self, mirror: Mirror, rows: Mapping[str, tuple[Position, Row]]) -> list[Action]:
        """The hash's content came. Conflated topics get what changed; the others begin anew: history may be missing.

        A mirror that was given up meanwhile takes nothing: another one may have been begun for the same scope.
        """
        scope = mirror.scope
        topic = Topic.of(scope)
        channel = self._channels.get(topic)
        if channel is None or channel.mirrors.get(scope) is not mirror or not mirror.reading:
            return []
        first = not mirror.complete
        live, changes = mirror.read_ends(rows)
        if first and self.rows_of(topic) is not None:
            self._wake(channel)
        if topic.conflated:
            self._offer(topic, channel, changes)
        elif changes:
            self._reset(topic, channel)
        return [] if live else [Read(scope)]

    # --- inside ---------------------------------------------------------------------------------------------------

    def _open(self, topic: Topic) -> list[Action]:
        if not self._online:
            return []
        self._unconfirmed[topic] = self._unconfirmed.get(topic, 0) + 1
        return [Open(topic)]

    def _mirror(self, channel: _Channel, scope: Scope) -> Mirror:
        return channel.mirrors.setdefault(scope, Mirror(scope, self._pending_max))

    @staticmethod
    def _offer(topic: Topic, channel: _Channel, rows: Sequence[Row]) -> None:
        for outbox in channel.clients.values():
            for row in rows:
                outbox.offer(topic, row)

    @staticmethod
    def _reset(topic: Topic, channel: _Channel) -> None:
        for outbox in channel.clients.values():
            outbox.reset(topic)

    @staticmethod
    def _wake(channel: _Channel) -> None:
        for outbox in channel.clients.values():
            outbox.wake()
