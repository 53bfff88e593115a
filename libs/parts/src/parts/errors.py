"""Errors of local parts."""


class PartsError(RuntimeError):
    """A part cannot be had or does not work. The message says what was tried and what to do."""
