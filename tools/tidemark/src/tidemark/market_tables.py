"""Arrow tables of the market from the log: bars, alerts and marks, read to the committed end as it is now."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from common.contracts.topics import MD_ALERTS, MD_BARS, MD_MARKS, Topic
from common.contracts.windows import Window
from streams.edges.reader import CommittedReader
from streams.model.message import Message
from streams.process.settings import Settings

from tidemark.errors import CommandError
from tidemark.log_end import read_committed
from tidemark.tabular import decoder_of

_ROW: Final = "row"


@dataclass(frozen=True, slots=True)
class MarketTable:
    """A topic whose later rows replace earlier ones.

    ``key``: columns that say which rows are of one thing. ``order``: columns that the table is sorted by. ``counted``:
    a thing whose newest row has 0 there is gone: a bar whose trades were all broken.
    """

    topic: Topic
    key: tuple[str, ...]
    order: tuple[str, ...]
    counted: str = ""

    def shown(self, rows: pa.Table, *, revisions: bool) -> pa.Table:
        """The newest row of each thing, or with ``revisions`` all rows. ``rows`` are in the log's order."""
        if "revision" in rows.column_names:
            rows = rows.take(pc.sort_indices(rows, [("revision", "ascending")]))  # stable: then in the log's order
        if not revisions:
            numbered = rows.append_column(_ROW, pa.array(np.arange(rows.num_rows)))
            rows = rows.take(numbered.group_by(list(self.key)).aggregate([(_ROW, "max")])[f"{_ROW}_max"])
            if self.counted:
                rows = rows.filter(pc.greater(rows[self.counted], 0))
        return rows.take(pc.sort_indices(rows, [(column, "ascending") for column in self.order]))


TABLES: Final[Mapping[str, MarketTable]] = {
    "bars": MarketTable(
        MD_BARS, ("symbol", "window_start_ns", "window_ns"), ("window_start_ns", "window_ns", "symbol"), "trades"
    ),
    "alerts": MarketTable(MD_ALERTS, ("symbol", "kind", "begin_ns"), ("clock_ns", "symbol", "kind")),
    "marks": MarketTable(MD_MARKS, ("symbol",), ("symbol", "ingest_ns")),
}
"""Every table, by the name that it has in SQL and in the client."""


async def read_table(
    settings: Settings, name: str, *, symbol: str = "", window: Window | None = None, revisions: bool = False
) -> pa.Table:
    """A table of ``TABLES``, of one symbol or all; of bars those of one window or all.

    Raises CommandError for a record that is not what its topic says, LogError where there is no log.
    """
    table = TABLES[name]
    read = read_committed(settings, [table.topic])
    parts = [_rows(table, messages, symbol, window) async for messages in read]
    return table.shown(_whole(table, parts), revisions=revisions)


async def follow_table(
    settings: Settings, name: str, *, symbol: str = "", window: Window | None = None, revisions: bool = False
) -> AsyncGenerator[pa.Table, None]:
    """Yields ``read_table`` of the log as it is now, then for ever the rows of each commit that has some: no row
    between the two is missing, and none is told twice. A later row of the same thing replaces the one before.
    """
    table = TABLES[name]
    async with CommittedReader(settings, [table.topic], from_beginning=True, client_id="tidemark-cli") as reader:
        past = reader.batches_until(await reader.ends())
        parts = [_rows(table, messages, symbol, window) async for messages in past]
        yield table.shown(_whole(table, parts), revisions=revisions)
        async for messages in reader.batches():
            if (rows := _rows(table, messages, symbol, window)).num_rows:
                yield rows


def _whole(table: MarketTable, parts: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables([decoder_of(table.topic).columns.empty_table(), *parts]).combine_chunks()


def _rows(table: MarketTable, messages: Sequence[Message], symbol: str, window: Window | None) -> pa.Table:
    """Rows that are asked for. Raises CommandError."""
    try:
        rows = decoder_of(table.topic).table([message for message in messages if message.value is not None])
    except ValueError as error:
        raise CommandError(f"{table.topic.name} has a record that cannot be decoded: {error}") from error
    return rows.filter(_asked(rows, symbol, window))


def _asked(rows: pa.Table, symbol: str, window: Window | None) -> pa.ChunkedArray:
    """Which rows are asked for. The clock of a partition, a mark without a symbol, never is."""
    asked = pc.equal(rows["symbol"], symbol) if symbol else pc.not_equal(rows["symbol"], "")
    if window is None:
        return asked
    starts = rows["window_start_ns"].to_numpy()
    of_length = rows["window_ns"].to_numpy() == window.length_ns
    return pc.and_(asked, pa.array(of_length & (starts % window.step_ns == 0)))
