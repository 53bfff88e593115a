"""Replacement for a work whose transaction had a record that its topic does not take.

The broker refuses a record batch above the topic's ``max.message.bytes`` and says no more. A batch of several records
is cut until it fits. Where one record alone is too large the transaction is aborted, and its works are handled once
more with the size in hand: the first output or row that is as large makes its message poison, which is set aside like
any other. Nothing is remembered beyond that, since an operator may raise the limit at any time.

Bulk state is made anew by handling its input again, and a replay cannot know which message a broker was too small for.
"""

from dataclasses import replace

from streams.commit.transaction import Work
from streams.model.errors import Refused, TooLarge


def handled_again(work: Work, refused: TooLarge) -> list[Work]:
    """Raises Refused where no message is to blame or may be set aside: the topic has to take more."""
    topic = refused.where[0]
    again = topic in work.sizes_refused and refused.where in work.own_places()
    if work.parts.tables.states or (again and len(work.batch) < 2):
        raise Refused(f"{work.parts.name} cannot go on: {refused}")
    if again:
        middle = len(work.batch) // 2
        return [replace(work, batch=part) for part in (work.batch[:middle], work.batch[middle:])]
    smallest = min(refused.size_bytes, work.sizes_refused.get(topic, refused.size_bytes))
    return [replace(work, sizes_refused={**work.sizes_refused, topic: smallest})]
