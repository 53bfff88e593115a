"""Explicit-state check of the ownership protocol in ``ownership.md``, with the rows and the compaction really used.

    python docs/spec/ownership.py [--rule RULE] [--takers N] [--seeds N | --exhaust] [--first SEED]

One changelog partition. A taker is a process with one transactional id. The broker is modelled as Kafka promises it: a
record can be written and a transaction committed only with the newest epoch of its id; ``InitProducerId`` raises the
epoch and aborts what is open; an open transaction may be timed out at any moment; read_committed stops at the first
open transaction; compaction may remove, below that point, any record whose key has a newer committed record.
Nothing is assumed of processes: each may believe at any time that the partition is its own, and be as slow as it likes.
A process keeps a store over restarts: a fold of the changelog up to an offset, and the rows it has written itself.

Safe: every committed data record was made from all data records committed before it.

Rules: ``sound``, and those that must be found out:
  newest     shut out whom the newest ownership row names, nobody else
  owner-row  claims before the owner's row do not count, though they may have come after the owner's claim
  no-look    no look back after the claim
  no-more    the look back ends at the claim, though one before it may be compacted for an owner's row after it
  early      restore up to the claim, not up to the high watermark after the look back
  jump       an owner's store counts as complete up to its own last row, over claims it has not read
  no-task    the partition's own id, which never claims, is not shut out after the claim
  keep       who was shut out keeps what it owned and takes a new epoch
Exit status 0: safe as far as was looked; 1: a history that breaks it is printed.
"""

import argparse
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

RULES = ("sound", "newest", "owner-row", "no-look", "no-more", "early", "jump", "no-task", "keep")
NOBODY = -1
TASK = 0
"""The id that belongs to the partition: its producer claims nothing."""
OPEN, COMMITTED, GONE = "open", "committed", "gone"


@dataclass(frozen=True, slots=True)
class Record:
    """``rows``: (key, value); keys: ("owner",), ("claim", …), ("data", n). ``base``: the data it was made from."""

    by: int
    rows: tuple[tuple[tuple[object, ...], int | None], ...]
    base: frozenset[int] | None
    status: str


@dataclass(frozen=True, slots=True)
class Store:
    """The knowledge of a process of the log below ``end``: ownership rows as (key, value, offset), and data offsets."""

    end: int = 0
    rows: frozenset[tuple[tuple[object, ...], int, int]] = frozenset()
    data: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Process:
    """``epoch``: the one it holds. ``looked``: how far the first look went; ``at``: offset of its own last record."""

    step: str = "idle"
    epoch: int = 0
    store: Store = Store()
    todo: frozenset[int] = frozenset()
    looked: int = 0
    at: int = 0
    removable: frozenset[tuple[object, ...]] = frozenset()
    next_offset: int = 0
    writes: int = 1
    restarts: int = 1
    claims: int = 0


@dataclass(frozen=True, slots=True)
class World:
    """The log, the newest epoch of each id, and the processes."""

    log: tuple[Record, ...]
    epochs: tuple[int, ...]
    processes: tuple[Process, ...]
    compactions: int = 1


def stable_end(log: tuple[Record, ...]) -> int:
    """The offset at which read_committed stops."""
    return next((offset for offset, record in enumerate(log) if record.status == OPEN), len(log))


def read(log: tuple[Record, ...], store: Store, end: int) -> Store:
    """Copies committed rows into the store, in order, from where it is complete up to ``end``."""
    rows = {key: (value, offset) for key, value, offset in store.rows}
    data = set(store.data)
    for offset in range(store.end, end):
        record = log[offset]
        if record.status != COMMITTED:
            continue
        for key, value in record.rows:
            if key[0] == "data":
                data.add(offset)
            elif value is None:
                rows.pop(key, None)
            else:
                rows[key] = (value, offset)
    return Store(max(store.end, end), frozenset((k, v, o) for k, (v, o) in rows.items()), frozenset(data))


def writers(store: Store, me: int, rule: str) -> frozenset[int]:
    """Whom the first look shuts out."""
    rows = sorted(store.rows, key=lambda row: row[2])
    if rule == "newest":
        rows = rows[-1:]
    if rule == "owner-row":
        last = max((offset for key, _, offset in rows if key == ("owner",)), default=-1)
        rows = [row for row in rows if row[2] >= last]
    return frozenset(value for _, value, _ in rows) - {me, NOBODY}


def abort(world: World, who: int) -> World:
    """The broker raises the epoch of an id and aborts what it has open."""
    log = tuple(replace(r, status=GONE) if r.by == who and r.status == OPEN else r for r in world.log)
    epochs = (*world.epochs[:who], world.epochs[who] + 1, *world.epochs[who + 1 :])
    return replace(world, log=log, epochs=epochs)


def put(world: World, p: int, process: Process) -> World:
    """The world with process ``p`` changed."""
    return replace(world, processes=(*world.processes[:p], process, *world.processes[p + 1 :]))


def append(world: World, record: Record) -> World:
    """The world with one record more."""
    return replace(world, log=(*world.log, record))


def commit(world: World, at: int) -> World:
    """The transaction of the record at ``at`` is committed."""
    log = world.log
    return replace(world, log=(*log[:at], replace(log[at], status=COMMITTED), *log[at + 1 :]))


def own_rows(record: Record, at: int, store: Store, end: int) -> Store:
    """An owner puts what it has written into its store, which is complete up to ``end``."""
    rows = {key: (value, offset) for key, value, offset in store.rows}
    data = set(store.data)
    for key, value in record.rows:
        if key[0] == "data":
            data.add(at)
        elif value is None:
            rows.pop(key, None)
        else:
            rows[key] = (value, at)
    return Store(end, frozenset((k, v, o) for k, (v, o) in rows.items()), frozenset(data))


def opening(world: World, p: int, rule: str) -> Iterator[tuple[str, World]]:
    """The next step of a process that does not own the partition yet."""
    me, log = world.processes[p], world.log
    if me.step == "idle":
        if p == TASK:  # its own id is fenced in first; then it looks
            raised = abort(world, p)
            yield f"{p} fences its id in", put(raised, p, replace(me, step="look", epoch=raised.epochs[p]))
        else:
            yield f"{p} will read to {stable_end(log)}", put(world, p, replace(me, step="read", at=stable_end(log)))
    elif me.step == "read":
        store = read(log, me.store, me.at)
        todo = writers(store, p, rule)
        moved = replace(me, step="shut out" if todo else "claim", store=store, todo=todo, looked=store.end)
        yield f"{p} has read, will shut out {set(todo)}", put(world, p, moved)
    elif me.step in ("look", "look on"):
        yield f"{p} takes {len(log)} for the end", put(world, p, replace(me, step=f"{me.step}ing", at=len(log)))
    elif me.step == "looking" and stable_end(log) >= me.at:
        moved = replace(me, step="look on", store=read(log, me.store, me.at))
        yield f"{p} looks", put(world, p, moved)
    elif me.step == "look oning" and stable_end(log) >= me.at and p == TASK:
        store = read(log, me.store, me.at)
        todo = writers(store, p, rule)
        claims = frozenset(key for key, _, _ in store.rows if key[0] == "claim")
        moved = replace(me, step="shut out before" if todo else "restore", store=store, todo=todo, removable=claims)
        yield f"{p} looks on, will shut out {set(todo)}", put(world, p, moved)
    elif me.step == "look oning" and stable_end(log) >= me.at:
        store = read(log, me.store, me.at)
        owner = frozenset(v for key, v, offset in store.rows if key == ("owner",) and offset >= me.looked) - {p, NOBODY}
        found = frozenset() if rule == "no-look" else me.todo | owner
        todo = found | (frozenset() if rule == "no-task" else {TASK})
        moved = replace(me, step="shut out again" if todo else "restore", store=store, todo=todo)
        yield f"{p} looks on, will shut out {set(todo)}", put(world, p, moved)
    elif me.step.startswith("shut out"):
        after = {"shut out": "claim", "shut out again": "restore", "shut out before": "restore"}[me.step]
        for who in me.todo:
            rest = me.todo - {who}
            moved = replace(me, step=me.step if rest else after, todo=rest)
            yield f"{p} shuts out {who}", put(abort(world, who), p, moved)
    elif me.step == "claim" and me.epoch == world.epochs[p]:
        record = Record(p, ((("claim", p, me.claims), p),), None, OPEN)
        moved = replace(me, step="claiming", at=len(log), claims=me.claims + 1)
        yield f"{p} writes a claim at {len(log)}", put(append(world, record), p, moved)
    elif me.step == "claiming" and me.epoch == world.epochs[p]:
        yield f"{p} commits its claim", put(commit(world, me.at), p, replace(me, step="look back"))
    elif me.step == "look back" and stable_end(log) > me.at:
        store = read(log, me.store, me.at + 1)
        named = frozenset(value for _, value, offset in store.rows if offset >= me.looked) - {p, NOBODY}
        claims = frozenset(key for key, _, _ in store.rows if key[0] == "claim")
        end = me.at + 1 if rule == "no-more" else len(log)
        moved = replace(me, step="look oning", store=store, todo=named, removable=claims, at=end)
        yield f"{p} looks back, finds {set(named)}", put(world, p, moved)
    elif me.step == "restore":
        end = me.store.end if rule == "early" and p != TASK else len(log)
        yield f"{p} takes {end} for the end", put(world, p, replace(me, step="restoring", at=end))
    elif me.step == "restoring" and stable_end(log) >= me.at:
        store = read(log, me.store, me.at)
        seated = p == TASK and not me.removable and ("owner",) not in {key for key, _, _ in store.rows}
        moved = replace(me, step="own" if seated else "seat", store=store, next_offset=me.at)
        yield f"{p} has restored {set(store.data)}", put(world, p, moved)


def owning(world: World, p: int, rule: str) -> Iterator[tuple[str, World]]:
    """The next step of a process that takes itself for the owner."""
    me, log = world.processes[p], world.log
    if me.epoch != world.epochs[p]:
        if rule == "keep" and me.step == "own":
            yield f"{p} keeps what it has", put(world, p, replace(me, epoch=world.epochs[p]))
        return
    if me.step == "seat":
        rows = ((("owner",), p), *((key, None) for key in sorted(me.removable, key=str)))
        moved = replace(me, step="writing", at=len(log))
        yield f"{p} writes that it is the owner", put(append(world, Record(p, rows, me.store.data, OPEN)), p, moved)
    elif me.step == "own":
        if me.writes:
            rows = ((("data", len(log)), 1),)
            moved = replace(me, step="writing", at=len(log), writes=me.writes - 1)
            name = f"{p} writes data made from {set(me.store.data)}"
            yield name, put(append(world, Record(p, rows, me.store.data, OPEN)), p, moved)
        if p != TASK and me.restarts:
            moved = replace(me, step="leaving", at=len(log), restarts=me.restarts - 1)
            record = Record(p, ((("owner",), NOBODY),), me.store.data, OPEN)
            yield f"{p} gives the partition back", put(append(world, record), p, moved)
    elif me.step in ("writing", "leaving"):
        record = log[me.at]
        # The store is complete up to its own row only if nobody has written since the last one.
        alone = me.at == me.next_offset or rule == "jump"
        store = own_rows(record, me.at, me.store, me.at + 1 if alone else me.store.end)
        following = replace(me, step="own", store=store, next_offset=me.at + 1 if alone else me.next_offset)
        if me.step == "leaving":
            following = replace(me, step="idle")
        yield f"{p} commits", put(commit(world, me.at), p, following)


def steps(world: World, rule: str) -> Iterator[tuple[str, World]]:
    """Everything that could happen next."""
    for p, me in enumerate(world.processes):
        if me.step in ("seat", "own", "writing", "leaving"):
            yield from owning(world, p, rule)
        else:
            yield from opening(world, p, rule)
        if me.restarts and me.step != "idle":
            raised = abort(world, p)
            anew = replace(
                me, step="idle", epoch=raised.epochs[p], todo=frozenset(), removable=frozenset(),
                restarts=me.restarts - 1,
            )  # fmt: skip
            yield f"{p} starts anew", put(raised, p, anew)
        if any(record.by == p and record.status == OPEN for record in world.log):
            yield f"the broker times {p} out", abort(world, p)
    if world.compactions:
        yield from compaction(world)


def compaction(world: World) -> Iterator[tuple[str, World]]:
    """The broker compacts: below the last stable offset, only the newest committed row of each key stays."""
    seen: set[tuple[object, ...]] = set()
    log = list(world.log)
    for offset in reversed(range(stable_end(world.log))):
        record = log[offset]
        if record.status == COMMITTED:
            rows = tuple(row for row in record.rows if row[0] not in seen)
            seen |= {key for key, _ in record.rows}
            log[offset] = replace(record, rows=rows)
    if tuple(log) != world.log:
        yield "the log is compacted", replace(world, log=tuple(log), compactions=world.compactions - 1)


def safe(world: World) -> bool:
    """Every committed data record, and every owner's row, was made from all committed data before it."""
    data: set[int] = set()
    for offset, record in enumerate(world.log):
        if record.status == COMMITTED and record.base is not None:
            if record.base != data:
                return False
            if any(key[0] == "data" for key, _ in record.rows):
                data.add(offset)
    return True


def beginning(takers: int, writes: int, restarts: int) -> World:
    """Process 0 has the partition's own id, the others a process's."""
    process = Process(writes=writes, restarts=restarts)
    return World((), (0,) * (takers + 1), (process,) * (takers + 1))


def wander(start: World, rule: str, seed: int) -> list[str] | None:
    """One random history; what happened in it if it breaks the promise."""
    chance = random.Random(seed)
    patience = [chance.choice((1, 1, 4, 16)) for _ in start.processes]
    world, history = start, []
    while following := list(steps(world, rule)):
        # Some processes are slow: races need one that waits while others go through all their steps.
        weights = [patience[int(name[0])] if name[0].isdigit() else 1 for name, _ in following]
        name, world = chance.choices(following, weights)[0]
        history.append(name)
        if not safe(world):
            return history
    return None


def exhaust(start: World, rule: str, states_max: int) -> tuple[int, list[str] | None]:
    """Every interleaving, breadth first: number of states, and the shortest history that breaks the promise."""
    known = {start}
    level: list[tuple[World, tuple[object, ...]]] = [(start, ())]
    while level and len(known) < states_max:
        following: list[tuple[World, tuple[object, ...]]] = []
        for world, past in level:
            for name, after in steps(world, rule):
                if after in known:
                    continue
                known.add(after)
                if not safe(after):
                    history = [name]
                    while past:
                        history.append(str(past[0]))
                        past = past[1]  # type: ignore[assignment]
                    return len(known), history[::-1]
                following.append((after, (name, past)))
        level = following
    return len(known), None


def main(arguments: list[str] | None = None, tell: Callable[[str], object] = sys.stdout.write) -> int:
    """Exit status 1 where a history breaks the promise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rule", choices=RULES, default="sound")
    parser.add_argument("--takers", type=int, default=3, help="processes that claim (default %(default)s)")
    parser.add_argument("--writes", type=int, default=2, help="data records of each (default %(default)s)")
    parser.add_argument("--restarts", type=int, default=1, help="of each, or giving back (default %(default)s)")
    parser.add_argument("--seeds", type=int, default=20_000, help="random histories (default %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default %(default)s)")
    parser.add_argument("--exhaust", action="store_true", help="every interleaving instead; keep the numbers small")
    parser.add_argument("--states", type=int, default=10**9, help="stop exhausting after so many")
    options = parser.parse_args(arguments)
    start = beginning(options.takers, options.writes, options.restarts)
    if options.exhaust:
        count, history = exhaust(start, options.rule, options.states)
        what = f"{count} states{', not all there are' if count >= options.states else ''}"
    else:
        history = None
        for seed in range(options.first, options.first + options.seeds):
            if history := wander(start, options.rule, seed):
                break
        what = f"seed {seed}" if history else f"{options.seeds} random histories"
    if history:
        tell(f"{options.rule}: unsafe, {what}\n  " + "\n  ".join(history) + "\n")
        return 1
    tell(f"{options.rule}: {options.takers} takers and a task, {what}: all safe\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
