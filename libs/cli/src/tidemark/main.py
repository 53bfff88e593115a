"""The ``tidemark`` command."""

import typer

from tidemark.commands.audit import audit
from tidemark.commands.demo import demo
from tidemark.commands.dump import dump
from tidemark.commands.read import read
from tidemark.commands.replay import replay
from tidemark.commands.up import down, status, up

app = typer.Typer(
    name="tidemark",
    help="Market analytics and pre-trade risk as a fleet of exactly-once stream-processing services.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)

for command in (demo, up, down, status, replay, read, audit, dump):
    app.command()(command)


@app.callback()
def _root() -> None:
    """Market analytics and pre-trade risk as a fleet of exactly-once stream-processing services."""


if __name__ == "__main__":
    app()
