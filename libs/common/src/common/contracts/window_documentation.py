"""Writes what follows from the table of windows: ``docs/windows.md`` and the chart's choice of bars.

uv run python -m common.contracts.window_documentation
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from common.contracts.windows import OPTIONAL_WINDOWS, WINDOWS, Trigger, Window, feeder_of, lengths_ns

_ROOT: Final = Path(__file__).parents[5]
PAGE: Final = _ROOT / "docs" / "windows.md"
CHART: Final = _ROOT / "services" / "push" / "dashboard" / "src" / "windows.ts"
KEYS_MAX: Final = 9
"""The chart's windows are chosen by the digits."""

_HEAD: Final = """# Windows

Generated from `libs/common/src/common/contracts/windows.py` by `make schemas`; a test keeps it current.
Windows are aligned to the venue's midnight, which the frames of a feed tell; to the epoch where none does
([ADR 90](adr/0090-windows-of-the-venue.md)). Of each length one is open, the one that holds the partition's clock,
which is the least time of its feeds ([ADR 74](adr/0074-watermarks-of-feeds.md)). It ends when the clock reaches its
end, or with the session that it has begun in ([ADR 59](adr/0059-windows-end-with-sessions.md)). A trade is added once,
to the shortest window of a chain of lengths that divide each other; each longer one is merged from it. A sliding window
is merged from panes of its step's length whenever one ends. The guide [add a window](guides/add-a-window.md) says what
one more takes.

| window | length | merged from | key in the chart |
|---|---:|---|---|
"""

_SESSIONS: Final = """
A session window holds the trades of a symbol of which each is less than a gap behind the one before, and ends a gap
after the last one. Its rows are on `md.sessions`. A late trade that bridges two makes them one, that of the earlier
start: it is restated, and the other one is taken back and says into which it went (`into_ns`); a broken trade may part
one. Whoever was told of a session is told at once of what becomes of it
([ADR 74](adr/0074-watermarks-of-feeds.md)). These are kept where `TIDEMARK_WINDOWS` names them, and without Kafka with
`--bars 1m,gap:30s`:

| session | gap |
|---|---:|
"""

_ACCOUNTS: Final = """
The same sessions are kept of accounts, of the events of their orders, where `TIDEMARK_TRADER_SESSIONS` names them: on
`orders.sessions`, and told as they grow ([ADR 91](adr/0091-sessions-of-accounts-are-restated-as-they-grow.md)).
"""

_PHASES: Final = """
A triggered window holds the trades of a symbol from one event to the next, of the market (open, close) or of the symbol
(halt, resume), and ends with the feed's session. Its rows are on `md.phases`, with what began and what ended it. The
event time of a trade decides which window it is of, whatever comes first: a late one restates what was told, and a
trigger that comes after trades of its time parts them ([ADR 90](adr/0090-windows-of-the-venue.md)). They are kept as
those above:

| window | ends with |
|---|---|
"""


def _by_length(windows: Sequence[Window]) -> list[Window]:
    return sorted(windows, key=lambda window: window.length_ns)


def page(windows: Sequence[Window] = WINDOWS) -> str:
    """The documentation."""
    names = {window.length_ns: window.name for window in windows if window.tumbles}
    rows = []
    tumbling = [window for window in windows if window.tumbles]
    for number, window in enumerate(_by_length(tumbling), 1):
        feeder = feeder_of(window.length_ns, lengths_ns(windows))
        merged_from = "" if feeder is None else f"`{names[feeder]}`"
        key = f"`{number}`" if number <= KEYS_MAX else ""
        rows.append(f"| `{window.name}` | {window.length_ns:,} ns | {merged_from} | {key} |\n")
    rows += [f"| `{w.name}` | {w.length_ns:,} ns | panes of {w.step_ns:,} ns | |\n" for w in windows if w.slides]
    sessions = [f"| `{w.name}` | {w.gap_ns:,} ns |\n" for w in windows if w.gap_ns]
    sessions += [f"| `{w.name}` | {w.gap_ns:,} ns |\n" for w in OPTIONAL_WINDOWS if w.gap_ns]
    triggered = [f"| `{w.name}` | {_names(w.triggers)} |\n" for w in (*windows, *OPTIONAL_WINDOWS) if w.triggers]
    return _HEAD + "".join(rows) + _SESSIONS + "".join(sessions) + _ACCOUNTS + _PHASES + "".join(triggered)


def _names(triggers: Trigger) -> str:
    return ", ".join(str(each.name).lower() for each in Trigger if each & triggers)


def chart(windows: Sequence[Window] = WINDOWS) -> str:
    """The chart's module."""
    rows = [
        f'  {{ label: "{window.label}", ns: {window.length_ns} }},\n'
        for window in _by_length([w for w in windows if w.tumbles])
    ]
    head = "// Generated from libs/common/src/common/contracts/windows.py by `make schemas`.\n"
    return f"{head}export const WINDOWS = [\n{''.join(rows)}] as const;\n"


def exports() -> Mapping[Path, str]:
    """Content of each generated file."""
    return {PAGE: page(), CHART: chart()}


def main() -> int:
    for file, text in exports().items():
        if file.parent.is_dir():
            file.write_text(text, "utf-8")
            sys.stdout.write(f"wrote {file.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
