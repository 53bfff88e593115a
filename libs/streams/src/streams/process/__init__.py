"""What any process needs around its work: settings, logs, metrics, traces, pauses and ends. Knows no Kafka."""
