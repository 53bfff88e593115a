"""How far a task's committed state has come, by the wall clock and by the clock in its input."""

from collections import deque
from collections.abc import Callable, Sequence

from streams.commit.transaction import Work
from streams.kafka.broker_watch import is_broker_away
from streams.model.message import Message
from streams.stage.inbox import Inbox
from streams.views.task import ViewClock, ViewWriter


class TaskClock:
    """Knows what is under way: the state is as of now only while nothing is, and the broker would tell of more."""

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        self._clock_ns = clock_ns
        self._under_way = 0
        self._read = ViewClock(clock_ns(), 0)

    def writer(self, partitions: int, todo: deque[Work], inbox: Inbox) -> ViewWriter:
        """For the views of the task."""
        return ViewWriter(partitions, lambda: self.read(todo, inbox))

    def hand_over(self, todo: deque[Work]) -> Work | None:
        """The next batch for the lane."""
        if not todo:
            return None
        self._under_way += 1
        return todo.popleft()

    def ends(self) -> None:
        """It is back, whatever became of it."""
        self._under_way -= 1

    def committed(self, batch: Sequence[Message]) -> None:
        """Notes that the handled messages are committed."""
        newest_ns = batch[-1].timestamp_ms * 1_000_000 if batch else 0
        self._read = ViewClock(self._clock_ns(), max(self._read.data_ns, newest_ns))

    def read(self, todo: deque[Work], inbox: Inbox) -> ViewClock:
        """Now, if nothing waits either; else as of the last time that nothing did, or that something was committed."""
        if not (todo or self._under_way or inbox.holds_any or is_broker_away()):
            self._read = self._read._replace(as_of_ns=self._clock_ns())
        return self._read
