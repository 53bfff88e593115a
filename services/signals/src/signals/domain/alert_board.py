"""Which market alerts people see: the newest of a partition, those that go on and those that are over.

What is on show stands in a store (Redis) that keeps what it was given, so each is remembered until it is taken down.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from common.contracts.alerts import ALERT, Alerts

from signals.domain.layout import Array

SHOWN_MAX: Final = 64
"""Alerts of a partition on show at most; beyond it those that have begun first are taken down."""
_IDENTITY: Final = ["kind", "begin_ns", "instrument_id"]


@dataclass(frozen=True, slots=True)
class AlertTurn:
    """Changes on the board at one heartbeat; ``gone`` comes first."""

    gone: Alerts
    changed: Alerts


class AlertBoard:
    """The alerts of one partition that people see, each as its newest row says it."""

    def __init__(self) -> None:
        self.rows: Alerts = np.zeros(0, ALERT)
        """By the order in which they began."""
        self._is_new: Array = np.zeros(0, np.bool_)
        self._gone: Alerts = np.zeros(0, ALERT)

    def issued(self, rows: Alerts) -> None:
        """Rows were issued, in this order."""
        if not len(rows):
            return
        known = np.concatenate((self.rows, rows))
        _, newest, inverse = np.unique(known[_IDENTITY][::-1], return_index=True, return_inverse=True)
        newest = len(known) - 1 - newest
        first = np.full(len(newest), len(known))
        np.minimum.at(first, inverse[::-1], np.arange(len(known)))
        order = np.argsort(first)
        is_new = (newest >= len(self.rows)) | np.append(self._is_new, np.zeros(len(rows), np.bool_))[newest]
        was_shown = first < len(self.rows)
        fallen = order[: max(0, len(order) - SHOWN_MAX)]
        kept = order[len(fallen) :]
        self._gone = np.concatenate((self._gone, known[newest[fallen[was_shown[fallen]]]]))
        self.rows, self._is_new = known[newest[kept]], is_new[kept]

    def turn(self) -> AlertTurn:
        """A heartbeat."""
        turn = AlertTurn(self._gone, self.rows[self._is_new])
        self._gone = np.zeros(0, ALERT)
        self._is_new = np.zeros(len(self.rows), np.bool_)
        return turn

    def begin_session(self) -> None:
        """Everything on show is to be taken down."""
        self._gone = np.concatenate((self._gone, self.rows))
        self.rows, self._is_new = np.zeros(0, ALERT), np.zeros(0, np.bool_)

    def arrays(self) -> dict[str, Array]:
        """The whole state by name, for a snapshot."""
        return {"rows": self.rows, "is_new": self._is_new, "gone": self._gone}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Takes over what ``arrays`` gave."""
        self.rows, self._is_new, self._gone = arrays["rows"], arrays["is_new"], arrays["gone"]
