"""Ownership of partitions: membership of the consumer group, and the assignment that its leader deals out."""
