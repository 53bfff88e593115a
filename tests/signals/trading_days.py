"""Short trading days of two stocks: a market maker who quotes, takers who trade with them, and, if wanted, one episode
of market abuse.
"""

import numpy as np
from common.contracts.ticks import TickKind, Ticks
from common.testing.market_flow import SESSION_NS, directory, row, tick_array

S = 1_000_000_000
STEP_NS = S // 20
LEVELS = 3
CENT_E4 = 100


class AbusedDay:
    """``abuse``: name of a shipped pattern, of which one episode is planted in the stock ``abused`` on a ``side``
    between ``begin_ns`` and ``end_ns``; without one the day is benign.
    """

    def __init__(self, seed: int, abuse: str = "", side: int = 1, seconds: int = 20) -> None:
        self._random = np.random.default_rng(seed)
        self._rows = directory(["AAA", "BBB"])
        self._refs = self._matches = 0
        self._middle = [int(self._random.integers(2_000, 40_000)) for _ in range(2)]
        self._quotes: list[list[tuple[int, int, int]]] = [[], []]
        self._last_takers: list[list[int]] = [[], []]
        self._large: dict[int, tuple[int, int]] = {}
        self.abused, self.begin_ns, self.end_ns = int(self._random.integers(2)), 0, 0
        steps = seconds * S // STEP_NS
        planted = steps - 1 if abuse == "MARKING_CLOSE" else steps // 2
        for step in range(steps):
            at = step * STEP_NS
            for instrument in range(2):
                self._quote(instrument, at)
                self._take(instrument, at + 2_000)
            if abuse and step == planted:
                self.begin_ns = SESSION_NS + at + 10_000
                getattr(self, f"_{abuse.lower()}")(side, at + 10_000)
                self.end_ns = SESSION_NS + at + STEP_NS
        self._add(TickKind.SYSTEM_EVENT, steps * STEP_NS, instrument_id=-1, detail=ord("M"))
        self.end_ns += abuse == "MARKING_CLOSE"
        self._add(TickKind.HEARTBEAT, steps * STEP_NS + 30 * S, instrument_id=-1)

    def ticks(self) -> Ticks:
        return tick_array(self._rows)

    def _add(self, kind: TickKind, at: int, **fields: int) -> None:
        self._rows.append(row(kind, at, **fields))

    def _enter(self, instrument: int, side: int, cents: int, qty: int, at: int) -> int:
        self._refs += 1
        fields = {"side": b"BS"[side < 0], "price_e4": cents * CENT_E4, "qty": qty}
        self._add(TickKind.ADD, at, instrument_id=instrument, order_ref=self._refs, **fields)
        return self._refs

    def _delete(self, instrument: int, ref: int, at: int) -> None:
        self._add(TickKind.DELETE, at, instrument_id=instrument, order_ref=ref)

    def _execute(self, instrument: int, ref: int, qty: int, at: int) -> None:
        self._matches += 1
        self._add(TickKind.EXECUTED, at, instrument_id=instrument, order_ref=ref, qty=qty, aux_ref=self._matches)

    # --- the benign market -----------------------------------------------------------------------------------------

    def _quote(self, instrument: int, at: int) -> None:
        """The market maker moves some quotes, the middle walks, and now and then a large order rests a while."""
        random = self._random
        self._middle[instrument] += int(random.integers(-1, 2))
        for _, _, ref in self._quotes[instrument]:
            self._delete(instrument, ref, at)
        self._quotes[instrument] = []
        for level in range(LEVELS):
            for side in (1, -1):
                qty = int(random.integers(1, 6)) * 100
                ref = self._enter(instrument, side, self._middle[instrument] - side * (1 + level), qty, at + 1_000)
                self._quotes[instrument].append((side, qty, ref))
        if instrument not in self._large and random.random() < 0.02:
            side = int(random.integers(2)) * 2 - 1
            ref = self._enter(instrument, side, self._middle[instrument] - side * 30, 5_000, at + 1_500)
            self._large[instrument] = (ref, at)
        elif instrument in self._large and at - self._large[instrument][1] > 3 * S:
            self._delete(instrument, self._large.pop(instrument)[0], at + 1_500)

    def _take(self, instrument: int, at: int) -> None:
        """A taker of either side, of one at most three times in a row."""
        if self._random.random() < 0.5:
            return
        before, side = self._last_takers[instrument], int(self._random.integers(2)) * 2 - 1
        if before[-3:] == [side] * 3:
            side = -side
        before.append(side)
        place = next(i for i, (resting, _, _) in enumerate(self._quotes[instrument]) if resting == -side)
        _, qty, ref = self._quotes[instrument].pop(place)
        self._execute(instrument, ref, qty, at)

    # --- abuse -----------------------------------------------------------------------------------------------------

    def _quote_stuffing(self, side: int, at: int) -> None:
        for number in range(260):
            ref = self._enter(self.abused, side, self._middle[self.abused] - side * 40, 100, at + number * 100)
            self._delete(self.abused, ref, at + number * 100 + 50)

    def _layering(self, side: int, at: int) -> None:
        middle = self._middle[self.abused]
        false = [self._enter(self.abused, side, middle - side * (4 + k), 9_000, at + k) for k in range(3)]
        mine = self._enter(self.abused, -side, middle + side, 100, at + 100)
        self._execute(self.abused, mine, 100, at + 200)
        for k, ref in enumerate(false):
            self._delete(self.abused, ref, at + 300 + k)

    def _chase(self, side: int, taken: int, cents: int, at: int) -> int:
        """Orders are taken one after the other, each a cent further. Returns the price of the last one."""
        for number in range(taken):
            cents += side
            ref = self._enter(self.abused, -side, cents, 100, at + 2 * number)
            self._execute(self.abused, ref, 100, at + 2 * number + 1)
        return cents

    def _ignition(self, side: int, at: int) -> None:
        reached = self._chase(side, 9, self._middle[self.abused] + side * LEVELS, at)
        self._chase(-side, 5, reached, at + 1_000)

    def _marking_close(self, side: int, at: int) -> None:
        self._chase(side, 6, self._middle[self.abused] + side * LEVELS, at)
