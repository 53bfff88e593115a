"""Real Kafka, Redis, PostgreSQL and Jaeger on this machine, for tests, the demo and ``tidemark up``."""

from common.testing.stack.errors import PartsError
from common.testing.stack.kafka_config import Jvm
from common.testing.stack.local import OPTIONAL, PARTS, LocalStack, Stack

__all__ = ["OPTIONAL", "PARTS", "Jvm", "LocalStack", "PartsError", "Stack"]
