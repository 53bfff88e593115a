"""The stage runtime: exactly-once stages on Kafka and RocksDB, and what every service process needs around them.

Modules that push uses (settings, logs, telemetry, operations, web) import neither Kafka nor RocksDB clients.
"""
