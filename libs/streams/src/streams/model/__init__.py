"""What users declare and handlers hold: topics, messages, tables, stages; and what a stage needs of a log."""
