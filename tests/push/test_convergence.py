"""Whatever is lost, repeated or delayed on the way, a client's picture becomes the hash's content again.

The model: publishers write hashes and channels as ``streams.views.publisher`` does; messages travel to the hub on a
wire that may lose and repeat them, reads take their time, Redis connections and publishers come and go, browsers stall
and lose messages of ours. The hub and the outboxes are the real ones.
"""

from collections import deque
from dataclasses import dataclass, field
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st
from push.domain.hub import Action, Close, Hub, ListScopes, Open, Read
from push.domain.mirror import Mirror
from push.domain.outbox import Outbox
from push.domain.rows import Delta, Position, Row, Scope, StampsNs
from push.domain.topic import Topic

SCOPES = [Scope("quote", "0"), Scope("quote", "1"), Scope("account", "A1"), Scope("order", "A1"), Scope("fill", "A1")]
TOPICS = [Topic("quote", ""), Topic("account", "A1"), Topic("order", "A1"), Topic("fill", "A1")]
KEYS = ["a", "b", "c"]
PUBLISHERS_MAX = 1_000
Stored = dict[str, tuple[Position, Row]]


@dataclass
class Browser:
    """Keeps topics as the dashboard does: a message that does not follow the last one asks for the topic again."""

    outbox: Outbox = field(default_factory=lambda: Outbox(queue_max=4, rows_max=1_000))
    rows: dict[Topic, dict[str, bytes]] = field(default_factory=dict)
    seqs: dict[Topic, int] = field(default_factory=dict)
    history: dict[Topic, list[bytes | None]] = field(default_factory=dict)
    """Rows since the last snapshot, as they came."""
    newest: dict[Topic, int] = field(default_factory=dict)
    """The last value written that the last snapshot holds."""

    def forget(self, topic: Topic) -> None:
        self.rows.pop(topic, None)
        self.seqs.pop(topic, None)

    def flush(self, hub: Hub, client: int, lost: bool) -> None:
        snapshots, changes = self.outbox.take(hub.rows_of)
        if lost:
            return
        for snapshot in snapshots:
            self.seqs[snapshot.topic] = snapshot.seq
            self.rows[snapshot.topic] = {row.key: row.data for row in snapshot.rows if row.data is not None}
            self.history[snapshot.topic] = []
            self.newest[snapshot.topic] = max((int(row.data) for row in snapshot.rows if row.data), default=0)
        for change in changes:
            if self.seqs.get(change.topic) != change.prev:
                self.seqs.pop(change.topic, None)
                hub.resync(client, change.topic)
                continue
            self.seqs[change.topic] = change.seq
            for row in change.rows:
                self.history[change.topic].append(row.data)
                if row.data is None:
                    self.rows[change.topic].pop(row.key, None)
                else:
                    self.rows[change.topic][row.key] = row.data


class World:
    """Redis, its writers, push and two browsers."""

    def __init__(self) -> None:
        self.stored: dict[Scope, Stored] = {scope: {} for scope in SCOPES}
        self.epochs = dict.fromkeys(SCOPES, 1)
        self.seqs = dict.fromkeys(SCOPES, 0)
        self.publishers = 0
        self.truth: dict[Scope, Stored] = {}
        """The writers' copies of hashes that Redis has lost."""
        self.values = 0
        self.written: dict[Scope, list[bytes | None]] = {scope: [] for scope in SCOPES}
        self.hub = Hub(pending_max=3)
        self.browsers = [Browser(), Browser()]
        self.open: set[Topic] = set()
        self.wire: deque[Delta | Topic] = deque()
        self.commands: deque[Open | Close] = deque()
        self.lookups: deque[Read | ListScopes] = deque()
        self.asked: deque[Mirror] = deque()
        self.replies: deque[tuple[Mirror, Stored]] = deque()
        for client, browser in enumerate(self.browsers):
            self.hub.join(client, browser.outbox)

    def do(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Open | Close):
                self.commands.append(action)
            else:
                self.lookups.append(action)

    def write(self, scope: Scope, key: str, remove: bool) -> None:
        """As the runtime does it: hash first, then channel."""
        self.values += 1
        data = None if remove else b"%d" % self.values
        self.seqs[scope] += 1
        position = Position(self.epochs[scope], self.seqs[scope])
        row = Row(key, data, StampsNs(self.values, 0, 0))
        for rows in (self.stored[scope], self.truth.get(scope, {})):
            if data is None:
                rows.pop(key, None)
            else:
                rows[key] = (position, row)
        self.written[scope].append(data)
        self.publish(Delta(scope, position, position.seq - 1, row))

    def publish(self, delta: Delta) -> None:
        if Topic.of(delta.scope) in self.open:
            self.wire.append(delta)

    def refill(self, scope: Scope, backwards: bool) -> None:
        """A new publisher, perhaps with a clock that is behind: every row anew, and one message that says so.

        Epochs are times in nanoseconds: one may be lower than the last, but no two publishers have the same.
        """
        self.publishers += 1
        clock = self.epochs[scope] // PUBLISHERS_MAX + (-1 if backwards else 1)
        epoch = self.epochs[scope] = clock * PUBLISHERS_MAX + self.publishers
        rows = [(key, row) for key, (_, row) in self.stored[scope].items()]
        self.stored[scope] = {key: (Position(epoch, seq), row) for seq, (key, row) in enumerate(rows, 1)}
        self.seqs[scope] = len(rows)
        if rows:
            self.publish(Delta(scope, Position(epoch, len(rows)), len(rows) - 1, rows[-1][1]))

    def lose(self, scopes: list[Scope]) -> None:
        """Redis has lost hashes without a word; its writers know their rows, and find it out sooner or later."""
        for scope in scopes:
            self.truth.setdefault(scope, self.stored[scope])
            self.stored[scope] = {}

    def repair(self, backwards: bool) -> None:
        """The writers have found out: what was lost is written anew, or said to be empty."""
        for scope in list(self.truth):
            self.stored[scope] = self.truth.pop(scope)
            self.refill(scope, backwards)
            if not self.stored[scope]:
                self.seqs[scope] = 1
                gone = Row("", None, StampsNs())
                self.publish(Delta(scope, Position(self.epochs[scope], 1), 0, gone))

    def doubt(self) -> None:
        """A writer says that it has written everything anew."""
        self.do(self.hub.doubt([scope.name for scope in SCOPES]))

    def reconnect(self) -> None:
        self.hub.disconnected()
        self.wire.clear()
        self.commands.clear()
        self.lookups.clear()
        self.asked.clear()
        self.replies.clear()
        self.open.clear()
        self.do(self.hub.connected())

    def step_command(self) -> None:
        """Redis confirms a subscription on the same wire as the changes that follow it."""
        match self.commands.popleft() if self.commands else None:
            case Open(topic):
                self.open.add(topic)
                self.wire.append(topic)
            case Close(topic):
                self.open.discard(topic)

    def step_lookup(self) -> None:
        match self.lookups.popleft() if self.lookups else None:
            case ListScopes(topic):
                found = [scope for scope, rows in self.stored.items() if rows and Topic.of(scope) == topic]
                self.do(self.hub.listed(topic, found))
            case Read(scope):
                mirror = self.hub.read_begins(scope)
                if mirror is not None:
                    self.asked.append(mirror)

    def step_wire(self) -> None:
        if self.wire:
            arrived = self.wire.popleft()
            self.do(self.hub.receive(arrived)[1] if isinstance(arrived, Delta) else self.hub.opened(arrived))

    def step_execute(self) -> None:
        """Redis reads the hash: some time after it was asked, and some time before push hears of it."""
        if self.asked:
            mirror = self.asked.popleft()
            self.replies.append((mirror, dict(self.stored[mirror.scope])))

    def step_reply(self) -> None:
        if self.replies:
            self.do(self.hub.read_ends(*self.replies.popleft()))

    def settle(self) -> None:
        """Everything under way arrives, and browsers read until nothing is left."""
        for _ in range(10_000):
            if not (self.commands or self.lookups or self.wire or self.asked or self.replies):
                break
            self.step_command()
            self.step_lookup()
            self.step_wire()
            self.step_execute()
            self.step_reply()
        else:
            raise AssertionError("push and Redis never come to rest")
        for _ in range(4):
            for client, browser in enumerate(self.browsers):
                browser.flush(self.hub, client, lost=False)

    def expected(self, topic: Topic) -> dict[str, bytes | None]:
        scopes = [rows for scope, rows in self.stored.items() if Topic.of(scope) == topic]
        return {key: row.data for rows in scopes for key, (_, row) in rows.items()}


USUAL = {"write": 20, "command": 8, "lookup": 10, "wire": 16, "execute": 8, "reply": 8, "flush": 6}
COMING_AND_GOING = {"subscribe": 5, "unsubscribe": 4}
LOSS = {"flushall": 1, "evict": 3, "repair": 3, "doubt": 1}
TROUBLE = {"lose": 2, "repeat": 2, "refill": 1, "reconnect": 1, "flush lost": 1}


def play(world: World, chance: Random, length: int, weights: dict[str, int]) -> None:
    """One history: every step is drawn by its weight. The seed is in hypothesis' report."""
    for step in chance.choices(list(weights), list(weights.values()), k=length):
        client, topic, scope = chance.randrange(2), chance.choice(TOPICS), chance.choice(SCOPES)
        at = chance.randrange(len(world.wire)) if world.wire else -1
        loseable = at >= 0 and isinstance(world.wire[at], Delta)
        match step:
            case "write":
                key = chance.choice(KEYS)  # the keys of quotes differ between partitions, as symbols do
                world.write(scope, scope.scope + key if scope.name == "quote" else key, chance.random() < 0.4)
            case "flush" | "flush lost":
                world.browsers[client].flush(world.hub, client, lost=step == "flush lost")
            case "subscribe":
                world.do(world.hub.subscribe(client, topic))
            case "unsubscribe":
                world.do(world.hub.unsubscribe(client, topic))
                world.browsers[client].forget(topic)
            case "lose" if loseable:
                del world.wire[at]
            case "repeat" if loseable:
                world.wire.append(world.wire[at])
            case "refill":
                world.refill(scope, backwards=chance.random() < 0.3)
            case "reconnect":
                world.reconnect()
            case "flushall":
                world.lose(SCOPES)
            case "evict":
                world.lose([scope])
            case "repair":
                world.repair(backwards=chance.random() < 0.3)
            case "doubt":
                world.doubt()
            case "command" | "lookup" | "wire" | "execute" | "reply":
                getattr(world, f"step_{step}")()


@example(308517, 149)  # back and forth between two clocks
@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(5, 300))
def test_after_any_trouble_when_every_scope_changes_once_more_then_clients_show_the_hash(
    seed: int, length: int
) -> None:
    world, chance = World(), Random(seed)
    world.reconnect()
    play(world, chance, length, USUAL | COMING_AND_GOING | TROUBLE)
    for client in range(2):
        for topic in TOPICS:
            if topic not in world.browsers[client].outbox.topics:
                world.do(world.hub.subscribe(client, topic))
    for _ in range(2):  # what was lost last shows with the next change: lost by Redis, and then lost by us
        world.settle()
        for scope in SCOPES:
            world.write(scope, "last" + scope.scope, remove=False)
    world.settle()
    for browser in world.browsers:
        for topic in TOPICS:
            assert browser.rows[topic] == world.expected(topic), topic


@example(309769, 168)  # closed and opened anew while a read waits to be sent
@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(5, 300))
def test_coming_and_going_when_nothing_is_lost_then_clients_show_the_hash_without_further_change(
    seed: int, length: int
) -> None:
    world, chance = World(), Random(seed)
    world.reconnect()
    play(world, chance, length, USUAL | COMING_AND_GOING | {"reconnect": 1, "refill": 1})
    world.settle()
    for browser in world.browsers:
        for topic in browser.outbox.topics:
            assert browser.rows[topic] == world.expected(topic), topic


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32), st.integers(5, 300))
def test_redis_that_loses_rows_when_their_writers_have_found_out_then_clients_show_what_the_writers_know(
    seed: int, length: int
) -> None:
    world, chance = World(), Random(seed)
    world.reconnect()
    play(world, chance, length, USUAL | COMING_AND_GOING | LOSS | {"reconnect": 1, "refill": 1})
    world.repair(backwards=False)
    world.settle()
    for browser in world.browsers:
        for topic in browser.outbox.topics:
            assert browser.rows[topic] == world.expected(topic), topic


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(5, 300))
def test_unconflated_rows_when_nothing_is_lost_then_all_arrive_in_order_between_snapshots(
    seed: int, length: int
) -> None:
    world, chance = World(), Random(seed)
    world.reconnect()
    for topic in TOPICS:
        world.do(world.hub.subscribe(0, topic))
    world.settle()
    play(world, chance, length, USUAL)
    world.settle()
    for scope in SCOPES:
        topic = Topic.of(scope)
        if not topic.conflated:
            history = world.browsers[0].history[topic]
            assert history == world.written[scope][len(world.written[scope]) - len(history) :]
            assert all(int(data) > world.browsers[0].newest[topic] for data in history if data is not None)
        assert world.browsers[0].rows[topic] == world.expected(topic)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(KEYS), st.booleans()), max_size=40), st.integers(1, 8))
def test_conflated_rows_when_the_client_is_slow_then_each_key_shows_its_newest_value_once(
    writes: list[tuple[str, bool]], frame_every: int
) -> None:
    topic = Topic("account", "A1")
    outbox = Outbox(queue_max=2, rows_max=100)
    outbox.subscribe(topic)
    rows: dict[str, Row] = {}
    outbox.take(lambda _: [rows])
    seen: dict[str, bytes | None] = {}
    for number, (key, remove) in enumerate(writes, 1):
        row = Row(key, None if remove else b"%d" % number, StampsNs(number, 0, 0))
        rows[key] = row
        outbox.offer(topic, row)
        assert outbox.rows_waiting <= len(KEYS)
        if number % frame_every == 0 or number == len(writes):
            snapshots, changes = outbox.take(lambda _: [rows])
            assert not snapshots
            keys = [row.key for change in changes for row in change.rows]
            assert len(keys) == len(set(keys))
            seen |= {row.key: row.data for change in changes for row in change.rows}
            assert seen == {key: row.data for key, row in rows.items()}
