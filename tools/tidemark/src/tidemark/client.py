"""The market as DataFrames: what a fleet has written to its log, for notebooks and scripts.

    from tidemark.client import Fleet

    bars = Fleet().bars("AAPL", "1m").to_pandas()

    with Fleet().bars("AAPL", "1m", live=True) as tables:
        for table in tables:  # what there is, then what is committed, as it is
            print(table.to_pandas())

Columns are those of the contracts: prices are integers of 1/10,000 (``*_e4``), times are ns since the epoch.
"""

import asyncio
import importlib
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import pyarrow as pa
from common.contracts.windows import Window

from tidemark.errors import CommandError
from tidemark.market_tables import follow_table, read_table
from tidemark.options import DEFAULT_STATE, addresses, reader_settings
from tidemark.state import StateDir

if TYPE_CHECKING:
    import pandas
    import polars


@dataclass(frozen=True, slots=True)
class Table:
    """Rows in columns, as Arrow holds them."""

    _rows: pa.Table

    def __len__(self) -> int:
        return int(self._rows.num_rows)

    def to_arrow(self) -> pa.Table:
        """The ``pyarrow.Table``; nothing is copied."""
        return self._rows

    def to_pandas(self) -> "pandas.DataFrame":
        """A ``pandas.DataFrame``. Raises CommandError where pandas is not installed."""
        _installed("pandas")
        frame: pandas.DataFrame = self._rows.to_pandas()
        return frame

    def to_polars(self) -> "polars.DataFrame":
        """A ``polars.DataFrame``. Raises CommandError where polars is not installed."""
        frame: polars.DataFrame = _installed("polars").from_arrow(self._rows)
        return frame


class Live(Iterator[Table]):
    """Tables without an end: first what the log has now, then one for each commit that has rows of what is asked for.

    A later row of the same bar (``revision``), alert or mark replaces the one before; a bar of 0 trades is taken back.
    ``next`` waits for the next commit. Ends where it is closed, at the latest with ``with``.
    """

    def __init__(self, rows: AsyncGenerator[pa.Table, None]) -> None:
        self._rows = rows
        self._waiting: asyncio.Task[Any] | None = None
        self._loop = asyncio.new_event_loop()
        # A thread of its own: whoever iterates waits, and a notebook's thread has a loop that runs already.
        self._thread = threading.Thread(target=self._loop.run_forever, name="tidemark-live", daemon=True)
        self._thread.start()

    def __next__(self) -> Table:
        if self._loop.is_closed():
            raise StopIteration
        try:
            found = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
        except BaseException:
            self.close()
            raise
        if found is None:
            raise StopIteration
        return found

    async def _next(self) -> Table | None:
        self._waiting = asyncio.current_task()
        return Table(rows) if (rows := await anext(self._rows, None)) is not None else None

    def close(self) -> None:
        """Leaves the log. Repeating it changes nothing."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._leave(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _leave(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.gather(self._waiting, return_exceptions=True)
        await self._rows.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Fleet:
    """A fleet's log, found as the command line finds it: by the address that is given, else by the ``TIDEMARK_*``
    variables, else as the fleet that runs in the state directory.

    Each call reads the committed records up to the end as it is then. Newest rows only, unless ``revisions``: of a bar
    the last restatement, of an alert what its episode came to, of a mark the last. Calls raise LogError where no log
    answers, CommandError where a record cannot be read, StateError for a damaged state directory.
    """

    def __init__(self, state_dir: Path | str = DEFAULT_STATE, *, bootstrap: str | None = None) -> None:
        self._settings = reader_settings(addresses(StateDir(Path(state_dir)), kafka_bootstrap=bootstrap))

    @overload
    def bars(
        self, symbol: str = "", window: str = "", *, revisions: bool = False, live: Literal[False] = False
    ) -> Table: ...

    @overload
    def bars(self, symbol: str = "", window: str = "", *, revisions: bool = False, live: Literal[True]) -> Live: ...

    def bars(self, symbol: str = "", window: str = "", *, revisions: bool = False, live: bool = False) -> Table | Live:
        """Closed bars of a symbol, or of all, of a window like ``1m`` or ``5m/30s``, or of all, by their time.

        ``live``: an iterator that goes on. Raises WindowNameError where the text names no window.
        """
        of = Window(window) if window else None
        asked = {"symbol": symbol, "window": of, "revisions": revisions}
        return self._asked("bars", asked, live=live)

    @overload
    def alerts(self, symbol: str = "", *, revisions: bool = False, live: Literal[False] = False) -> Table: ...

    @overload
    def alerts(self, symbol: str = "", *, revisions: bool = False, live: Literal[True]) -> Live: ...

    def alerts(self, symbol: str = "", *, revisions: bool = False, live: bool = False) -> Table | Live:
        """Market alerts of a symbol, or of all, by the second that told of them. ``live``: an iterator that goes on."""
        return self._asked("alerts", {"symbol": symbol, "revisions": revisions}, live=live)

    @overload
    def marks(self, symbol: str = "", *, revisions: bool = False, live: Literal[False] = False) -> Table: ...

    @overload
    def marks(self, symbol: str = "", *, revisions: bool = False, live: Literal[True]) -> Live: ...

    def marks(self, symbol: str = "", *, revisions: bool = False, live: bool = False) -> Table | Live:
        """Best bid and offer, last price and trading state of a symbol, or of all. The log keeps the newest.

        ``live``: an iterator that goes on.
        """
        return self._asked("marks", {"symbol": symbol, "revisions": revisions}, live=live)

    def _asked(self, name: str, asked: dict[str, Any], *, live: bool) -> Table | Live:
        if live:
            return Live(follow_table(self._settings, name, **asked))
        return self._table(read_table(self._settings, name, **asked))

    @staticmethod
    def _table(reading: Coroutine[Any, Any, pa.Table]) -> Table:
        # In a thread of its own, since a notebook's has a loop that runs already.
        with ThreadPoolExecutor(1, "tidemark-client") as pool:
            return Table(pool.submit(asyncio.run, reading).result())


def _installed(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise CommandError(f"{package} is not installed: pip install 'tidemark-cli[dataframes]'") from error
