"""Real Kafka, Redis, PostgreSQL and Jaeger on this machine, for tests, the demo and ``tidemark up``."""

from parts.errors import PartsError
from parts.kafka_config import Jvm
from parts.local import OPTIONAL, PARTS, LocalStack, Stack

__all__ = ["OPTIONAL", "PARTS", "Jvm", "LocalStack", "PartsError", "Stack"]
