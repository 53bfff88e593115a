"""``tidemark indicators``."""

from pathlib import Path
from typing import Annotated

import typer
from common.contracts.windows import Window, WindowNameError
from common.studies import StudyError, parse_studies

from tidemark import console
from tidemark.bar_studies import write_studies


def indicators(
    bars: Annotated[Path, typer.Argument(help="A bars.csv, as `replay --offline` or `read md.bars` writes it.")],
    of: Annotated[
        str, typer.Option("--of", help="Indicators and their periods, like sma:20,ema:20,rsi:14,macd:12:26:9.")
    ] = "sma,ema,rsi,macd",
    window: Annotated[str, typer.Option("--window", help="Length of the bars, like 1m.")] = "1m",
    symbol: Annotated[str, typer.Option("--symbol", help="One symbol; default: each by itself.")] = "",
    out: Annotated[Path | None, typer.Option("--out", help="A file; default: standard output.")] = None,
) -> None:
    """Print indicators over bars as CSV: one row per bar, its last revision; empty where too few came before it."""
    with console.reported():
        try:
            studies, length_ns = parse_studies(of), Window(window).length_ns
        except (StudyError, WindowNameError) as error:
            raise console.CommandError(str(error)) from error
        write_studies(bars, out, studies, length_ns, symbol)
