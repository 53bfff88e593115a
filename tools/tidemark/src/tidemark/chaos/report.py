"""The findings of a storm for people: tables for the terminal and for ``docs/results.md``."""

from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tidemark.chaos.recovery import table
from tidemark.chaos.storm import Outcome

HEADINGS: Final = (
    "fault",
    "service",
    "n",
    "refused",
    "recovery p50",
    "max",
    "from",
    "lost",
    "duplicates",
    "neighbours' pause",
)
EXAMPLES_MAX: Final = 10


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A row of the recovery table as text; times in seconds."""

    def seconds(value: float | None) -> str:
        return "–" if value is None else f"{value:.1f} s"

    worst = seconds(row["recovery_max_s"]) + (f", {row['not_recovered']} never" if row["not_recovered"] else "")
    return (
        row["fault"],
        row["service"],
        str(row["incidents"]),
        "–" if row["refused"] is None else str(row["refused"]),
        seconds(row["recovery_p50_s"]),
        worst,
        row["counted_from"],
        str(row["lost"]),
        str(row["duplicates"]),
        seconds(row["neighbours_pause_max_s"]),
    )


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The recovery table as Markdown, for ``docs/results.md``."""
    lines = [HEADINGS, ("---", "---", *("--:",) * 4, "---", *("--:",) * 3), *map(cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show(outcome: Outcome, console: Console) -> None:
    """Prints the recovery table, what was skipped, and everything that is wrong."""
    shown = Table(*HEADINGS)
    for row in table(outcome.incidents):
        shown.add_row(*map(escape, cells(row)))
    console.print(shown)
    for fault, why in outcome.skipped.items():
        console.print(f"skipped: {escape(fault)}: {escape(why)}")
    unanswered = [f"{count} requests got {answer}" for answer, count in outcome.unanswered.items()]
    wrong = [*outcome.troubles, *unanswered, *outcome.broken, *outcome.lost, *outcome.wrong_accepted]
    for comparison in outcome.audit.comparisons:
        wrong += [f"{comparison.name}: {example}" for example in comparison.findings.examples]
    for text in wrong[:EXAMPLES_MAX]:
        console.print(f"[bold red]wrong:[/] {escape(text)}")
    figures = outcome.as_dict()
    console.print(
        f"{figures['faults']} faults, {figures['kills']} kills, {figures['intents']:,} intents: "
        f"{figures['lost']} lost, {figures['duplicates']} duplicates, {figures['money_created_e4']} e4 created, "
        f"{figures['sequence_gaps']} sequence gaps, {figures['audit_violations']} differences in the audit"
    )
