"""Venues that have said nothing for too long: they are left out of the books until they speak again.

Time is that of the events of one partition of ``md.events``: a venue is silent while its newest event is older than the
newest of all by more than a bound. So what is written is the same for the same events, whenever they are handled.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

SILENCE_NS: Final = 120_000_000_000
"""Twice what one venue's clock may be ahead of the others'."""


class Heard(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A venue's newest event, and whether its levels have been taken out of the books."""

    last_ns: int
    is_out: bool = False


class Speakers(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Venues that have spoken, by name."""

    venues: dict[str, Heard] = {}

    @property
    def clock_ns(self) -> int:
        """The newest event of all; 0 before the first."""
        return max((heard.last_ns for heard in self.venues.values()), default=0)

    @property
    def left_out(self) -> int:
        return sum(heard.is_out for heard in self.venues.values())

    def is_out(self, venue: str) -> bool:
        return venue in self.venues and self.venues[venue].is_out


class Turn(NamedTuple):
    """Changes in who is left out, by one event."""

    speakers: Speakers
    silent: tuple[str, ...]
    """Venues whose levels are to be taken out of the books."""
    is_back: bool
    """The speaker's levels are to be put into them again."""


def hear(speakers: Speakers, venue: str, event_ns: int, silence_ns: int) -> Turn:
    """``venue`` says something of ``event_ns``. A ``silence_ns`` of 0 leaves nobody out."""
    before = speakers.venues.get(venue, Heard(event_ns))
    venues = dict(speakers.venues)
    venues[venue] = Heard(max(before.last_ns, event_ns), before.is_out)
    oldest_ns = Speakers(venues).clock_ns - silence_ns if silence_ns else 0
    silent = tuple(name for name, heard in venues.items() if not heard.is_out and heard.last_ns < oldest_ns)
    is_back = before.is_out and venues[venue].last_ns >= oldest_ns
    for name in silent:
        venues[name] = Heard(venues[name].last_ns, is_out=True)
    if is_back:
        venues[venue] = Heard(venues[venue].last_ns)
    return Turn(Speakers(venues), silent, is_back)


def hear_many(speakers: Speakers, venues: Sequence[str], times_ns: Sequence[int]) -> Speakers:
    """Events among which nobody falls silent or comes back, see ``without_turns``."""
    heard = dict(speakers.venues)
    for venue, event_ns in zip(venues, times_ns, strict=True):
        before = heard.get(venue)
        if before is None or event_ns > before.last_ns:
            heard[venue] = Heard(event_ns)
    return Speakers(heard)


def without_turns(speakers: Speakers, venues: Sequence[str], times_ns: Sequence[int], silence_ns: int) -> int:
    """How many events there are before the first one with which somebody falls silent, or whose venue is left out."""
    if not len(times_ns):
        return 0
    oldest_ns = min([*times_ns, *(heard.last_ns for heard in speakers.venues.values() if not heard.is_out)])
    may_turn = silence_ns and max(*times_ns, speakers.clock_ns) - oldest_ns > silence_ns
    if not may_turn and not any(map(speakers.is_out, set(venues))):
        return len(venues)
    for at, (venue, event_ns) in enumerate(zip(venues, times_ns, strict=True)):
        turn = hear(speakers, venue, event_ns, silence_ns)
        if turn.silent or speakers.is_out(venue):
            return at
        speakers = turn.speakers
    return len(venues)
