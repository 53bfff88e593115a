"""Rows for people, in Redis after the commit, and how current they are."""
