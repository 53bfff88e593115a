"""What operators did by hand to topics and stages: the records of ``runtime.operations``. Key: the command's name."""

from common.contracts.events import Event
from common.contracts.values import TimestampNs


class OperatorAction(Event):
    """A command that changed something, written before it is done. ``changes``: what, one line each."""

    command: str
    by: str
    reason: str = ""
    changes: tuple[str, ...] = ()
    at_ns: TimestampNs
