"""Fate of the topics of a log in memory: their beginnings, their losses, and which topic a name stands for."""

from streams.model.log import Partition


class Lineage:
    """Beginnings, leader epochs and creations. A truncation begins a new epoch, as an election does."""

    def __init__(self) -> None:
        self._begins: dict[Partition, int] = {}
        self._creations: dict[str, int] = {}
        self._ends_lost: dict[Partition, list[int]] = {}
        self._epochs: dict[Partition, list[tuple[int, int]]] = {}
        """Leader epochs and where each begins."""

    def trim(self, partition: Partition, begin: int) -> None:
        """Deletes everything before ``begin``."""
        self._begins[partition] = max(self.begin(partition), begin)

    def truncate(self, partition: Partition, end: int) -> None:
        """Deletes everything behind ``end``."""
        self._ends_lost.setdefault(partition, []).append(end)
        epochs = self._epochs.setdefault(partition, [(0, 0)])
        self._epochs[partition] = [(n, at) for n, at in epochs if at < end or not n] + [(epochs[-1][0] + 1, end)]

    def recreate(self, topic: str) -> None:
        """The name stands for another topic, which begins at zero."""
        self._creations[topic] = self.creation(topic) + 1
        for partition in [each for each in self._begins if each.topic == topic]:
            del self._begins[partition]

    def begin(self, partition: Partition) -> int:
        """The oldest offset that can be read."""
        return self._begins.get(partition, 0)

    def ends_lost(self, partition: Partition) -> list[int]:
        """Ends of the partition after each truncation."""
        return self._ends_lost.get(partition, [])

    def creation(self, topic: str) -> int:
        """How often the topic was created again."""
        return self._creations.get(topic, 0)

    def identity(self, topic: str) -> str:
        """Cluster and topic."""
        return f"memory/{topic}.{self.creation(topic)}"

    def epoch_at(self, partition: Partition, offset: int) -> int:
        """Leader epoch of the record at an offset."""
        return max(n for n, at in self._epochs.get(partition, [(0, 0)]) if at <= offset or not n)

    def end_of_epoch(self, partition: Partition, epoch: int, end: int) -> int:
        """End of an epoch's records in a partition that ends at ``end``."""
        return min((at for n, at in self._epochs.get(partition, []) if n > epoch), default=end)
