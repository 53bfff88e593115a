"""Feeds beside the exchange's own line: each a module that turns the records of a source into ticks."""
