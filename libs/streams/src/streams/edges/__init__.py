"""Entries and exits of records beside stages: sources, senders, tails and projections."""
