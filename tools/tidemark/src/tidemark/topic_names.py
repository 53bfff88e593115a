"""Topics by the name that a user types."""

from common.contracts.topics import RAW_SCHEMA, TOPICS, Topic

from tidemark.errors import UnknownTopicError as UnknownTopicError


def topic_named(name: str) -> Topic:
    """A topic of the table, or the dead letters of one. Raises UnknownTopicError, naming those there are."""
    for topic in TOPICS:
        if topic.name == name:
            return topic
        if topic.dead_letters == name:
            return Topic(name, topic.key, RAW_SCHEMA, topic.owner, partitions=topic.partitioning)
    raise UnknownTopicError(f"there is no topic {name!r}; there are {', '.join(sorted(t.name for t in TOPICS))}")
