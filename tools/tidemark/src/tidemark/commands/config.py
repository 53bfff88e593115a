"""``tidemark config``."""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from tidemark import console
from tidemark.settings_table import CLASSES, REACHED, SHARED, Origin, Setting, every_setting, settings_of, unknown

SERVICES = [service for service in CLASSES if service not in (SHARED, REACHED)]


def config(
    service: Annotated[
        str, typer.Argument(help=f"All settings of one service: {', '.join(SERVICES)}. Default: all services.")
    ] = "",
    changed: Annotated[bool, typer.Option("--changed", help="Only settings that are not at their default.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array of objects instead of a table.")] = False,
) -> None:
    """List every setting of every service: its value here, and where that comes from.

    Values are those of a service that is started from this shell. What the environment says goes before what the file
    TIDEMARK_SETTINGS_FILE says, and that before the default. `tidemark up` and `demo` add addresses, ports and a data
    directory of their own. Secrets are hidden, as are passwords in URLs. Ends with 1 where a service would refuse its
    settings. docs/settings.md has the same list with the defaults.
    """
    if service and service not in SERVICES:
        raise typer.BadParameter(f"{service!r} is none of {', '.join(SERVICES)}", param_hint="SERVICE")
    with console.reported():
        found = settings_of(service) if service else every_setting()
    shown = [setting for setting in found if setting.origin is not Origin.DEFAULT or not changed]
    if as_json:
        sys.stdout.write(json.dumps([asdict(setting) for setting in shown], ensure_ascii=False) + "\n")
    else:
        console.out.print(_table(shown))
    for name in unknown():
        console.err.print(f"[yellow]warning:[/] nothing reads {escape(name)}")


def _table(settings: list[Setting]) -> Table:
    table = Table("service", "variable", "value", "from", "meaning")
    for each in settings:
        style = "" if each.origin is Origin.DEFAULT else "bold"
        table.add_row(
            *map(escape, (each.service, each.variable, each.text, each.origin, each.description)), style=style
        )
    return table
