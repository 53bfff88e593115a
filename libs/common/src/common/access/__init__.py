"""Identities from tokens and keys, and the table of rights where a request enters."""
