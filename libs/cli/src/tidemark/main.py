"""The ``tidemark`` command."""

import typer

from tidemark.commands.read import read

app = typer.Typer(
    name="tidemark",
    help="Market analytics and pre-trade risk as a fleet of exactly-once stream-processing services.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)

app.command()(read)


@app.callback()
def _root() -> None:
    """Market analytics and pre-trade risk as a fleet of exactly-once stream-processing services."""


if __name__ == "__main__":
    app()
