"""Keeps what the books have said of a time that the watermark has not reached: it goes on in the order of time.

So whatever is out of order by less than its feed's bound goes on as if it had come in order. Trades are put in order;
what the books say of themselves (quotes, changes, matches of patterns) is of the moment at which they said it.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple, Self

import numpy as np
from common.books.layout import BBO, PRINT, QUOTE

from signals.domain.layout import Array
from signals.domain.pattern_state import MATCHED

HELD_MAX: Final = 1 << 16
"""Rows that wait in a partition at most, of 48 to 80 bytes each."""


class Said(NamedTuple):
    """Rows that the books have written of some ticks."""

    prints: Array
    """PRINT rows."""
    quotes: Array
    """QUOTE rows."""
    changes: Array
    """BBO rows."""
    matches: Array
    """MATCHED rows: what patterns made of actions."""

    def where(self, chosen: Mapping[str, Array]) -> Self:
        return self._replace(**{name: getattr(self, name)[which] for name, which in chosen.items()})


_DTYPES: Final = {"prints": PRINT, "quotes": QUOTE, "changes": BBO, "matches": MATCHED}
_TIMES: Final = {"prints": "clock_ns", "quotes": "end_ns", "changes": "clock_ns", "matches": "clock_ns"}
"""When a row goes on: at the latest by this time of it."""


class HeldBack:
    """Rows of one partition that wait."""

    def __init__(self) -> None:
        self._held = Said(**{name: np.zeros(0, dtype) for name, dtype in _DTYPES.items()})

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._held)

    def hold(self, said: Said, newest_ns: int) -> None:
        """Keeps a copy. ``newest_ns``: greatest time that their feed has told: by then a broken trade goes on, behind
        the trade that it breaks.
        """
        prints = said.prints.copy()
        breaks_ns = np.maximum(prints["event_ns"], np.minimum(prints["clock_ns"], newest_ns))
        prints["clock_ns"] = np.where(prints["qty"] > 0, prints["event_ns"], breaks_ns)
        self._held = Said(*map(np.concatenate, zip(self._held, said._replace(prints=prints), strict=True)))

    def release(self, before_ns: int, watermark_ns: int) -> Said:
        """Rows that go on as the watermark comes from ``before_ns`` to ``watermark_ns``, the clock of prints."""
        is_due = {name: getattr(self._held, name)[time] <= watermark_ns for name, time in _TIMES.items()}
        found = self._held.where(is_due)
        self._held = self._held.where({name: ~due for name, due in is_due.items()})
        prints = found.prints[np.argsort(found.prints["clock_ns"], kind="stable")]
        prints["clock_ns"] = np.maximum(prints["clock_ns"], before_ns)
        return found._replace(prints=prints)

    # --- snapshots -------------------------------------------------------------------------------------------------

    def arrays(self) -> dict[str, Array]:
        """The whole state by name, for a snapshot. Nothing is copied."""
        return self._held._asdict()

    def restore(self, arrays: Mapping[str, Array], *, has_patterns: bool) -> None:
        """Takes over what ``arrays`` gave. ``has_patterns``: under the same patterns; else their matches are gone."""
        self._held = Said(**arrays)
        if not has_patterns:
            self._held = self._held._replace(matches=np.zeros(0, MATCHED))
