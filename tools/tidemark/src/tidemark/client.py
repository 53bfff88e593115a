"""The market as DataFrames: what a fleet has written to its log, for notebooks and scripts.

    from tidemark.client import Fleet

    bars = Fleet().bars("AAPL", "1m").to_pandas()

Columns are those of the contracts: prices are integers of 1/10,000 (``*_e4``), times are ns since the epoch.
"""

import asyncio
import importlib
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from common.contracts.windows import Window

from tidemark.errors import CommandError
from tidemark.market_tables import read_table
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


class Fleet:
    """A fleet's log, found as the command line finds it: by the address that is given, else by the ``TIDEMARK_*``
    variables, else as the fleet that runs in the state directory.

    Each call reads the committed records up to the end as it is then. Newest rows only, unless ``revisions``: of a bar
    the last restatement, of an alert what its episode came to, of a mark the last. Calls raise LogError where no log
    answers, CommandError where a record cannot be read, StateError for a damaged state directory.
    """

    def __init__(self, state_dir: Path | str = DEFAULT_STATE, *, bootstrap: str | None = None) -> None:
        self._settings = reader_settings(addresses(StateDir(Path(state_dir)), kafka_bootstrap=bootstrap))

    def bars(self, symbol: str = "", window: str = "", *, revisions: bool = False) -> Table:
        """Closed bars of a symbol, or of all, of a window like ``1m`` or ``5m/30s``, or of all, by their time.

        Raises WindowNameError where the text names no window.
        """
        of = Window(window) if window else None
        return self._table(read_table(self._settings, "bars", symbol=symbol, window=of, revisions=revisions))

    def alerts(self, symbol: str = "", *, revisions: bool = False) -> Table:
        """Market alerts of a symbol, or of all, by the second that told of them."""
        return self._table(read_table(self._settings, "alerts", symbol=symbol, revisions=revisions))

    def marks(self, symbol: str = "", *, revisions: bool = False) -> Table:
        """Best bid and offer, last price and trading state of a symbol, or of all. The log keeps the newest."""
        return self._table(read_table(self._settings, "marks", symbol=symbol, revisions=revisions))

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
