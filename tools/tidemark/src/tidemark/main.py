"""The ``tidemark`` command.

A command's module is imported when that command is called: all of them together bring in most of the services, which
takes seconds.
"""

from importlib import import_module
from typing import Final

import typer

COMMANDS: Final = {
    "demo": ("demo", "Run everything on this machine: a market, the fleet, clients that trade; audit it at the end."),
    "up": ("up", "Start Kafka, Redis, PostgreSQL and the five services on this machine."),
    "down": ("up", "Stop exactly what `up` or `demo` started."),
    "status": ("up", "Show what runs: pids, addresses, readiness, restarts, and how far each is behind the log."),
    "config": ("config", "List every setting of every service: its value here, and where that comes from."),
    "generate": (
        "generate",
        "Write a synthetic day with a rate plan; a capture can be damaged, and the truth is told.",
    ),
    "replay": ("replay", "Replay a recorded feed into a running fleet, or offline into CSV files."),
    "read": ("read", "Print the committed records of a topic as rows."),
    "sql": ("sql", "Ask the log's bars, alerts and marks, and Parquet files, in SQL (DuckDB)."),
    "query": ("query", "Depth, spread, imbalance and indicators of a symbol, now or as of a moment."),
    "indicators": ("indicators", "Print indicators over bars (moving averages, RSI, MACD) as CSV."),
    "audit": ("audit", "Fold the committed ledger anew and compare it with RocksDB, PostgreSQL and Redis."),
    "breaks": ("breaks", "Execution reports that the books refuse: list them, book or refuse each."),
    "controls": ("controls", "Limits and trading states while the gate works: propose, approve, halt, resume."),
    "decisions": ("decisions", "Who asked the gate for what, when, what it said, and why: by order, account, time."),
    "explain": ("explain", "What the gate decided an order by; and the same decision made again, byte for byte."),
    "calibrate": ("calibrate", "A day's orders under other limits: the verdicts that change."),
    "report": ("report", "Positions, profit and loss of a day as CSV: realised, unrealised, by account and symbol."),
    "topics": ("topics", "What the topics should be: create what is missing, show what differs, set what can be set."),
    "schemas": ("schemas", "Avro schemas of the topics: list them, check them against every release, push them."),
    "projection": ("projection", "Show how far the rows in PostgreSQL are, or have them made anew from the log."),
    "stage": ("stage", "A stage's partitions: show, verify, discard a store, move an input position, begin anew."),
    "fence": ("fence", "Partitions that the auditor has stopped, since the ledger is broken there: show, lift."),
    "dlq": ("dlq", "Messages that a stage has set aside: list them, show one, send one back."),
    "view": ("view", "Have the rows for people in Redis written anew."),
    "access": ("access", "Who may what: an address that signs in, people, keys of programs, what is revoked."),
    "erase": ("erase", "Throw a client's key away: what was exported of him is nobody's any more."),
    "reveal": ("erase", "Account and texts behind a pseudonym, for whoever has the keyring."),
    "secure": ("secure", "Identities of services at the log: certificates, and what each may do there."),
    "auditor": ("auditor", "Compare every store with the committed log, all the time."),
    "chaos": (
        "chaos",
        "Strike real faults at a fleet under load: what recovers when, and that no money is lost or made.",
    ),
    "dump": ("dump", "Print the raw messages of an ITCH 5.0 file."),
}
"""Name → module of ``tidemark.commands``, and what the overview says of it."""

app = typer.Typer(
    name="tidemark",
    help="Market analytics and pre-trade risk as a fleet of exactly-once stream-processing services.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)


@app.callback()
def _root() -> None:
    """Market analytics and pre-trade risk as a fleet of exactly-once stream-processing services."""


def _add(name: str, module: str, overview: str) -> None:
    # Everything behind the name is left to the command's own parser, `--help` too.
    everything = {"ignore_unknown_options": True, "allow_extra_args": True}

    @app.command(name, help=overview, add_help_option=False, context_settings=everything)
    def call(context: typer.Context) -> None:
        called = getattr(import_module(f"tidemark.commands.{module}"), name)
        if isinstance(called, typer.Typer):  # it has commands of its own
            command = called
        else:
            command = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_show_locals=False)
            command.command()(called)
        command(context.args, prog_name=f"tidemark {name}")


for _name, (_module, _overview) in COMMANDS.items():
    _add(_name, _module, _overview)


if __name__ == "__main__":
    app()
