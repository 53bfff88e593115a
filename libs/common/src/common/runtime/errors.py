"""What can go wrong with the log, in a few words. ``kafka.py`` translates its client's errors into these once; services
never see a client library's errors.
"""


class LogError(Exception):
    """Base of the translated errors."""


class Fenced(LogError):
    """A newer owner of the transactional id exists (or the broker timed our transaction out): write nothing more."""


class Retriable(LogError):
    """The attempt failed or its outcome is unknown. Close, fence, restore, and continue from what the log says."""


class Fatal(LogError):
    """Retrying cannot help: a missing topic, a wrong partition count, a broken log."""


class Refused(Fatal):
    """What a partition owns and what the log holds do not belong together: nothing may be read or written there.

    An operator has to say which of the two is right; meanwhile the partition stands still and others are served.
    """


class Newer(Refused):
    """A newer release has written the state. A worker of that release may serve the partition, this one must not."""
