"""The accounts that are known to exist, by what was committed about them."""

from collections import OrderedDict
from typing import Final

from common.contracts.events import CommandResult, Decision, ReasonCode

_SAY_NOTHING: Final = frozenset({ReasonCode.ACCOUNT_UNKNOWN, ReasonCode.DUPLICATE_ID})
"""Denials after which an account may still be one that nobody ever opened."""


class KnownAccounts:
    """At most ``accounts_max``, those that were answered last.

    A client can invent names without end, and a fair share for each would be all there is for him: names that are not
    known share one. An account is known from the first answer that it gets here.
    """

    def __init__(self, accounts_max: int) -> None:
        self._accounts_max = accounts_max
        self._accounts: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, account_id: object) -> bool:
        return account_id in self._accounts

    def answered(self, account_id: str, answer: Decision | CommandResult) -> None:
        """Learns from the gate's answer to a request of the account."""
        if not answer.accepted and answer.reason in _SAY_NOTHING:
            return
        self._accounts[account_id] = None
        self._accounts.move_to_end(account_id)
        if len(self._accounts) > self._accounts_max:
            self._accounts.popitem(last=False)
