"""Errors whose text is all that the user needs. They stand apart so that naming them imports nothing else."""


class CommandError(RuntimeError):
    """The request of the user cannot be carried out; the text says why, and what to do."""


class FleetError(RuntimeError):
    """A service cannot be started, or did not become ready."""


class ControlError(RuntimeError):
    """The supervisor cannot be reached, or refused what was asked."""


class StateError(RuntimeError):
    """The state directory cannot be used as asked."""


class UnknownTopicError(LookupError):
    """The topic table has no such topic."""
