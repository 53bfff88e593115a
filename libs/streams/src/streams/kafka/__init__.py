"""The log on a Kafka broker: its requests, a transactional producer, readers, and topics as they should be."""
