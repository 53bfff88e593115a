"""Stores against the fold: a row is compared at the version it says it has, and must have come as far as it can.

How far a row must have come, its store says itself: the projection and the gate's stores carry the place in the log
that they are complete up to. What stands behind that is a divergence at once. Views carry none: one that does not move
for a while though the log went on is one.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from common.ledger.fold import describe

from auditor.domain.place import Place, Positions


class Kind(StrEnum):
    """Kinds of rows, by the names that are shown of them."""

    ACCOUNT = "account"
    ENTRIES = "entries"
    ENTRY_ROWS = "entry rows"
    ORDER = "order"
    HISTORY = "history of order"
    EXECUTION = "execution"
    DECISIONS = "decisions"
    RESULTS = "command results"
    STATUS = "status"


class Seen(NamedTuple):
    """A row as a store has it. ``row`` None: it has none; a text: what is wrong with it in itself."""

    kind: str
    key: str
    version: int
    row: Any | None
    required: bool = True
    """Whether the store has to have it."""


@dataclass(frozen=True, slots=True)
class Look:
    """Content of a store at one look. ``reached`` says whether the store is complete up to a place; None: unknown."""

    store: str
    rows: list[Seen]
    reached: Callable[[str, Place], bool | None]


class Fold(Protocol):
    """The truth for a comparison. One that ``is_historic`` knows the row at every version up to its newest; of one
    that is not ``is_complete`` a key that it does not know says nothing.
    """

    @property
    def is_historic(self) -> bool: ...

    @property
    def is_complete(self) -> bool: ...

    def known(self) -> Iterable[str]: ...

    def want(self, key: str, version: int) -> None: ...

    def newest(self, key: str) -> int: ...

    def at(self, key: str, version: int) -> Any | None: ...

    def forget(self, key: str, version: int) -> None: ...


Id = tuple[str, str, str]
"""Store, kind and key."""


@dataclass(frozen=True, slots=True)
class _Ahead:
    """A row that the fold has not come to yet; when it stands at ``ends`` it must have."""

    version: int
    row: Any
    ends: Positions


@dataclass(slots=True)
class Comparer:
    """Keeps what differs now."""

    folds: Mapping[str, Fold]
    places: Callable[[str, str], Place]
    """Place of the newest record of (kind, key)."""
    grace_s: float
    excuse_max_s: float = 60.0
    """Whatever a store says of itself, it must reach in this time what the log has now."""
    divergent: dict[Id, str] = field(default_factory=dict)
    _compared: int = 0
    _ahead: dict[Id, _Ahead] = field(default_factory=dict)
    _still: dict[Id, tuple[int, float]] = field(default_factory=dict)
    _excused: dict[Id, tuple[int, float]] = field(default_factory=dict)
    """Row that is behind → what it has to reach, and since when it has to."""
    _again: set[Id] = field(default_factory=set)

    def again(self, store: str, kind: str) -> set[str]:
        """Keys that have to be looked at once more, whether or not they change."""
        ids = self._again | self.divergent.keys()
        return {key for at, of, key in ids if (at, of) == (store, kind)}

    def take(self, look: Look, ends: Positions, now_s: float) -> None:
        """Compares what was seen; ``ends`` of the log were asked for after the look."""
        for seen in look.rows:
            place = (look.store, seen.kind, seen.key)
            self._again.discard(place)
            fold = self.folds[seen.kind]
            newest = fold.newest(seen.key)
            if not newest and not fold.is_complete:
                continue  # it was forgotten since it was asked for
            if seen.row is None and not (seen.required and newest):
                self._equal(place)
            elif isinstance(seen.row, str):
                self.divergent[place] = seen.row
            elif seen.version > newest:
                fold.want(seen.key, seen.version)
                self._ahead[place] = _Ahead(seen.version, seen.row, ends)
            elif seen.version == newest or fold.is_historic:
                self._judge(place, seen.version, seen.row)
            else:
                self._behind(place, seen, look.reached(seen.kind, self.places(seen.kind, seen.key)), now_s)

    def settle(self, positions: Positions) -> None:
        """Compares what the fold has come to since, or ought to have."""
        for place, ahead in list(self._ahead.items()):
            _, kind, key = place
            fold = self.folds[kind]
            if fold.newest(key) >= ahead.version:
                del self._ahead[place]
                self._judge(place, ahead.version, ahead.row)
                fold.forget(key, ahead.version)
            elif not fold.is_complete and not fold.newest(key):
                del self._ahead[place]
            elif all(positions.get(at, 0) >= end for at, end in ahead.ends.items()):
                del self._ahead[place]
                fold.forget(key, ahead.version)
                self.divergent[place] = f"stands at {ahead.version}, the log at {fold.newest(key)}"

    def _judge(self, place: Id, version: int, row: Any) -> None:
        _, kind, key = place
        truth = self.folds[kind].at(key, version)
        if truth is None:
            self._again.add(place)
            return
        self._compared += 1
        if truth != row:
            self.divergent[place] = f"at {version}: {describe(row, truth)}"
        else:
            self._equal(place)

    def _equal(self, place: Id) -> None:
        self.divergent.pop(place, None)
        self._still.pop(place, None)
        self._excused.pop(place, None)

    def _behind(self, place: Id, seen: Seen, reached: bool | None, now_s: float) -> None:
        newest = self.folds[seen.kind].newest(seen.key)
        text = f"stands at {seen.version}, the log at {newest}" if seen.row is not None else "missing"
        if self._is_beyond_excuse(place, seen.version, newest, now_s):
            self.divergent[place] = f"{text}, for {self.excuse_max_s:.0f} s"
            self._again.add(place)
            return
        if reached is None:
            version, since_s = self._still.setdefault(place, (seen.version, now_s))
            if version != seen.version:
                self._still[place] = (seen.version, now_s)
            elif now_s - since_s >= self.grace_s:
                self.divergent[place] = text
                return
        else:
            self._still.pop(place, None)
            if reached:
                self.divergent[place] = text
                return
        self._again.add(place)

    def _is_beyond_excuse(self, place: Id, version: int, newest: int, now_s: float) -> bool:
        """Whether the row has still not come to what the log had so long ago, however much it moves."""
        wanted, since_s = self._excused.setdefault(place, (newest, now_s))
        if version >= wanted:
            self._excused[place] = (newest, now_s)
            return False
        return now_s - since_s >= self.excuse_max_s

    def clear(self, store: str) -> None:
        """The store cannot be read: what was said of its rows is not known any more."""
        for place in [place for place in self._still if place[0] == store]:
            del self._still[place]
        for place in [place for place in self._ahead if place[0] == store]:
            _, kind, key = place
            self.folds[kind].forget(key, self._ahead.pop(place).version)

    def take_compared(self) -> int:
        """Rows compared since this was asked last."""
        count, self._compared = self._compared, 0
        return count

    def by_store(self, stores: Iterable[str]) -> dict[str, int]:
        """Store → rows that differ."""
        counts = dict.fromkeys(stores, 0)
        for store, _, _ in self.divergent:
            counts[store] += 1
        return counts
