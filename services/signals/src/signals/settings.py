"""Settings of the signals service, read from ``TIDEMARK_*`` environment variables."""

from common.runtime.settings import Settings


class SignalsSettings(Settings):
    """Nothing of its own: what bars there are and how much a heartbeat tells is part of the contract, not a setting."""
