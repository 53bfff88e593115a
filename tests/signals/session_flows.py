"""Flows in which sessions end, cut into batches anywhere, and what a market is after a restart."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from common.contracts.ticks import TickFlag, TickKind, Ticks
from common.testing.market_flow import flows, price, row, tick_array
from hypothesis import strategies as st
from signals.domain.effects import Effects
from signals.domain.market import MarketState
from signals.domain.snapshot_layouts import LAYOUT_VERSION
from signals.offline import OfflineMarket, Wanted, write_tables
from signals.snapshots import load_market, save_market
from signals.tables import CsvTables
from streams.model.tables import SnapshotLayout

CUTS = st.lists(st.integers(0, 10_000), max_size=4)


@st.composite
def sessions(draw: st.DrawFn) -> Ticks:
    """Flows out of order in which sessions end now and then: one more heartbeat in six messages, at most."""
    ticks: Ticks = draw(flows(disorder=True, size=160)).copy()
    luck = np.array(draw(st.lists(st.integers(0, 5), min_size=len(ticks), max_size=len(ticks))), np.int64)
    beats = (ticks["kind"] == TickKind.HEARTBEAT) | ((luck == 0) & (ticks["kind"] == TickKind.ADD))
    ticks["kind"][beats], ticks["instrument_id"][beats] = TickKind.HEARTBEAT, -1
    ticks["flags"][beats & (luck < 4)] = TickFlag.SESSION_END
    ticks["sequence"][beats] = 0
    ticks.flags.writeable = False
    return ticks


def edges(ticks: Ticks, cuts: list[int]) -> list[tuple[int, int]]:
    return list(pairwise([0, *sorted(cut % (len(ticks) + 1) for cut in cuts), len(ticks)]))


def batches(market: MarketState, ticks: Ticks, cuts: list[int]) -> list[Effects]:
    """Effects of each batch."""
    return [market.apply(ticks[begin:end], 0) for begin, end in edges(ticks, cuts)]


def numbered(ticks: Ticks) -> Ticks:
    """The same, each with a number of its own, as they are read without Kafka."""
    found = ticks.copy()
    found["sequence"] = 1 + np.arange(len(ticks))
    return found


def run_through(offline: OfflineMarket, ticks: Ticks, cuts: list[int]) -> None:
    """Has it make everything of the batches; the tables that it keeps are whole afterwards."""
    for begin, end in edges(ticks, cuts):
        for _ in offline.apply(ticks[begin:end]):
            pass


def after_restart(before: MarketState, create: Callable[[], MarketState]) -> MarketState:
    with TemporaryDirectory() as path:
        save_market(before, Path(path))
        layout = SnapshotLayout("signals.market.market", LAYOUT_VERSION, before.declaration())
        return load_market(Path(path), layout, create)


def through_and_killed(create: Callable[[], MarketState], ticks: Ticks, cut: int) -> tuple[Effects, Effects]:
    """Effects behind the cut: of a market that has run through, and of one that was killed there."""
    cut %= len(ticks) + 1
    through, killed = create(), create()
    for state in (through, killed):
        state.apply(ticks[:cut], 0)
    restored = after_restart(killed, create)
    return through.apply(ticks[cut:], 0), restored.apply(ticks[cut:], 0)


def trade(at_ns: int, match: int, instrument: int = 0) -> dict[str, int]:
    """Trade of as many shares as its match number: a sum then says which trades are in it."""
    return row(TickKind.TRADE, at_ns, instrument_id=instrument, aux_ref=match, price_e4=price(1), qty=match)


def beat(at_ns: int) -> dict[str, int]:
    return row(TickKind.HEARTBEAT, at_ns, instrument_id=-1)


def written(
    directory: Path, rows: Iterable[dict[str, int]], wanted: Wanted, table: str, columns: tuple[str, ...]
) -> list[tuple[str, ...]]:
    """These columns of a table that is made of the ticks without Kafka."""
    with CsvTables(directory) as tables:
        write_tables([tick_array(rows)], tables, wanted)
        tables.keep()
    names, *lines = [line.split(",") for line in (directory / table).read_text("utf-8").splitlines()]
    places = [names.index(name) for name in columns]
    return [tuple(line[place] for place in places) for line in lines]


def columns_of(rows: Any, *names: str) -> list[tuple[Any, ...]]:
    """These columns of rows, row by row; words as text."""
    columns = (rows[name].tolist() for name in names)
    texts = ([value.decode() if isinstance(value, bytes) else value for value in column] for column in columns)
    return list(zip(*texts, strict=True))
