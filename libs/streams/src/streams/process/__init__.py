"""Surroundings of any process's work: settings, logs, metrics, traces, pauses and ends. Knows no Kafka."""
