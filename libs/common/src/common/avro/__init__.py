"""Avro on the log: schemas from the message classes, their general codec, and where other writers' schemas are had."""
