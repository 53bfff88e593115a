"""``tidemark query``: what signals says of a symbol's market, now or as of a place in the log or a time."""

import json
import sys
from enum import StrEnum
from typing import Annotated, Any, Final

import httpx
import typer
from common.contracts.rights import COMMAND_LINE, Role
from rich.markup import escape
from rich.table import Table

from tidemark import console
from tidemark.access import credential
from tidemark.options import DEFAULT_STATE, StateDirOption, moment_ns, running_fleet
from tidemark.state import StateDir
from tidemark.watcher import bearer

ANSWER_TIMEOUT_S: Final = 60.0


class Question(StrEnum):
    DEPTH = "depth"
    SPREAD = "spread"
    IMBALANCE = "imbalance"
    INDICATORS = "indicators"
    VENUES = "venues"


def query(
    question: Annotated[Question, typer.Argument(help="What is asked.")],
    symbol: Annotated[str, typer.Argument(help="Like AAPL.")],
    levels: Annotated[int, typer.Option("--levels", min=1, help="Price levels of each side at most.")] = 10,
    at_offset: Annotated[
        int | None, typer.Option("--at-offset", min=0, help="As of this record of the symbol's partition of md.ticks.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", help="As of this time of the exchange, like 2024-03-15T14:30:00.5Z, or ns.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The answer as JSON.")] = False,
    api: Annotated[str | None, typer.Option("--api", help="The signals service; default: the running fleet's.")] = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Print a symbol's depth, spread, imbalance or all indicators: as they are now, or as they were at a moment.

    `venues` prints what each venue that writes md.events shows of it now, and the best of all.
    """
    asked: dict[str, int | None] = {"levels": levels, "at_offset": at_offset, "at_ns": moment_ns(at) if at else None}
    if question is Question.VENUES:
        if at_offset is not None or at:
            raise typer.BadParameter("venues are asked for as they are now")
        asked = {}
    wanted = {name: value for name, value in asked.items() if value is not None}
    state = StateDir(state_dir)
    with console.reported():
        base_url = api or running_fleet(state).services["signals"]
    answer = console.run(_ask(state, base_url, f"/v1/markets/{symbol}/{question.value}", wanted))
    if as_json:
        sys.stdout.write(json.dumps(answer) + "\n")
        return
    _print(answer)


async def _ask(state: StateDir, base_url: str, path: str, wanted: dict[str, int]) -> dict[str, Any]:
    """Raises CommandError where there is no answer, or a problem instead."""
    headers = bearer(await credential(state.running(), COMMAND_LINE, [Role.MARKET_RAW]))
    try:
        async with httpx.AsyncClient(base_url=base_url, timeout=ANSWER_TIMEOUT_S, headers=headers) as client:
            answer = await client.get(path, params=wanted)
            body: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise console.CommandError(f"no answer from {base_url}: {error}") from error
    if answer.is_error:
        raise console.CommandError(f"{body.get('title', answer.reason_phrase)}: {body.get('detail', '')}")
    return body


def _print(answer: dict[str, Any]) -> None:
    as_of = answer.pop("as_of", {})
    bids, asks, windows, venues = (answer.pop(name, []) for name in ("bids", "asks", "windows", "venues"))
    numbers = Table("number", "value")
    for name, value in answer.items():
        numbers.add_row(escape(name), escape(str(value)))
    for name, value in as_of.items():
        numbers.add_row(f"as of {name}", str(value))
    console.out.print(numbers)
    if bids or asks:
        book = Table("bid size", "bid_e4", "ask_e4", "ask size")
        for level in range(max(len(bids), len(asks))):
            bid, ask = (side[level] if level < len(side) else {} for side in (bids, asks))
            cells = (bid.get("size", ""), bid.get("price_e4", ""), ask.get("price_e4", ""), ask.get("size", ""))
            book.add_row(*map(str, cells))
        console.out.print(book)
    for window in windows:
        open_window = Table("number", f"window of {window['window_ns']} ns from {window['window_start_ns']}")
        for name, value in window["numbers"].items():
            open_window.add_row(escape(name), str(value))
        console.out.print(open_window)
    if venues:
        quotes = Table(*venues[0])
        for quote in venues:
            quotes.add_row(*(escape(str(value)) for value in quote.values()))
        console.out.print(quotes)
