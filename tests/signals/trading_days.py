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


class _Day:
    """Messages on the orders of some stocks, from which the day is made."""

    def __init__(self, seed: int, symbols: list[str]) -> None:
        self._random = np.random.default_rng(seed)
        self._rows = directory(symbols)
        self._refs = self._matches = 0

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


class AbusedDay(_Day):
    """``abuse``: name of a shipped pattern, of which one episode is planted in the stock ``abused`` on a ``side``
    between ``begin_ns`` and ``end_ns``; without one the day is benign.
    """

    def __init__(self, seed: int, abuse: str = "", side: int = 1, seconds: int = 20) -> None:
        super().__init__(seed, ["AAA", "BBB"])
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


class RestlessDay(_Day):
    """A stock in which everything goes on at once that the shipped patterns are made of: large orders away from the
    touch come and go, one taker after the other chases the price, quotes are flooded. Whether a pattern is completed,
    and within its time, is left to chance.
    """

    def __init__(self, seed: int, moves: int = 120) -> None:
        super().__init__(seed, ["AAA"])
        random = self._random
        self._cents, self._toward, self._at = 20_000, 1, 0
        self._touch: dict[int, int] = {}
        self._resting: list[int] = []
        self._move_touch()
        pace_ns, chases = int(random.choice((30, 120, 400))) * 1_000_000, float(random.choice((0.15, 0.6)))
        flooded = int(random.integers(0, 3 * moves))
        for move in range(moves):
            self._at += int(random.exponential(pace_ns))
            if move == flooded:
                self._flood()
            elif random.random() < chases:
                self._chase()
            elif random.random() < 0.5 or not self._resting:
                self._enter_large()
            else:
                self._delete(0, self._resting.pop(int(random.integers(len(self._resting)))), self._at)
        self._add(TickKind.SYSTEM_EVENT, self._at + int(random.integers(0, 3 * S)), instrument_id=-1, detail=ord("M"))
        self._add(TickKind.HEARTBEAT, self._at + 30 * S, instrument_id=-1)

    def _enter_large(self) -> None:
        """Mostly large, mostly away from the touch, and mostly on the side that the takers are on."""
        random = self._random
        side = self._toward if random.random() < 0.8 else -self._toward
        cents = self._cents - side * int(random.integers(1, 12))
        self._resting.append(self._enter(0, side, cents, int(random.choice((500, 9_000, 40_000))), self._at))

    def _move_touch(self) -> None:
        """A hundred shares rest on each side of the last price."""
        for side in (1, -1):
            if side in self._touch:
                self._delete(0, self._touch[side], self._at)
            self._touch[side] = self._enter(0, side, self._cents - 2 * side, 100, self._at)

    def _chase(self) -> None:
        """A taker goes on in the direction of the one before, and now and then turns."""
        if self._random.random() < 0.15:
            self._toward = -self._toward
        self._cents += self._toward
        self._execute(0, self._enter(0, -self._toward, self._cents, 100, self._at), 100, self._at)
        if self._random.random() < 0.5:
            self._move_touch()

    def _flood(self) -> None:
        """About 250 orders within about a second, all withdrawn, and perhaps an execution among them."""
        random = self._random
        count, gap_ns = int(random.integers(245, 300)), int(random.integers(3_600_000, 4_400_000))
        disturbed = int(random.integers(0, 2 * count))
        for number in range(count):
            self._at += gap_ns
            self._delete(0, self._enter(0, 1, self._cents - 50, 100, self._at), self._at)
            if number == disturbed:
                self._chase()
