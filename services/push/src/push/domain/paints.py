"""Which paint times of a browser are believed: of what was sent to it, between the sending and now."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

from push.domain.commands import PaintedSample
from push.domain.rows import StampsNs

SENT_MAX: Final = 4_096
"""Changes of a connection that are remembered until their paint is reported; the oldest are forgotten."""
CLOCK_ERROR_NS: Final = 1_000_000_000
"""A browser's estimate of the server's clock may be off by so much; beyond that it is no estimate."""


class Paint(NamedTuple):
    """A change that was on a screen: what it was comes from here, when it was from the browser, within bounds."""

    view: str
    stamps: StampsNs
    painted_ns: int
    traceparent: str


_Key = tuple[str, float, float]
"""View, origin and commit. Browsers have doubles: they hold a time of today to the nearest 256 ns."""


class Paints:
    """The paints that one connection may report, each once."""

    def __init__(self) -> None:
        self._sent: OrderedDict[_Key, list[tuple[int, StampsNs, str]]] = OrderedDict()
        self._count = 0

    def sent(self, view: str, stamps: StampsNs, traceparent: str, now_ns: int) -> None:
        """A change is on its way to the browser."""
        if not stamps.origin:
            return
        key = (view, float(stamps.origin), float(stamps.committed))
        self._sent.setdefault(key, []).append((now_ns, stamps, traceparent))
        self._count += 1
        while self._count > SENT_MAX:
            _, forgotten = self._sent.popitem(last=False)
            self._count -= len(forgotten)

    def believe(self, samples: Sequence[PaintedSample], now_ns: int) -> tuple[list[Paint], dict[str, int]]:
        """The paints among the samples, and how many others there were by cause. Each change is painted once."""
        paints: list[Paint] = []
        ignored = {"not sent": 0, "impossible time": 0}
        for origin_ns, committed_ns, painted_ns, view, _ in samples:
            key = (view, _double(origin_ns), _double(committed_ns))
            waiting = self._sent.get(key)
            if not waiting:
                ignored["not sent"] += 1
                continue
            sent_ns, stamps, traceparent = waiting.pop(0)
            self._count -= 1
            if not waiting:
                del self._sent[key]
            if not sent_ns - CLOCK_ERROR_NS <= painted_ns <= now_ns + CLOCK_ERROR_NS:
                ignored["impossible time"] += 1
                continue
            paints.append(Paint(view, stamps, min(max(painted_ns, sent_ns), now_ns), traceparent))
        return paints, ignored


def _double(number: int) -> float:
    return float(number) if number < 1 << 64 else 0.0
