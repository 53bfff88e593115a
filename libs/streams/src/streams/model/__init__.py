"""Declarations of users and values of handlers: topics, messages, tables, stages; and the protocols of a log."""
