"""Key → partition, as Java clients choose it."""

from functools import lru_cache

from aiokafka.partitioner import murmur2


@lru_cache(maxsize=100_000)
def partition_of(key: bytes, partitions: int) -> int:
    """murmur2 of the key, made positive as Kafka's DefaultPartitioner does, modulo the number of partitions."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)
