"""Commands to the gate by the orders service's API: asked once under an id, and shown as the gate has answered."""

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Final

import httpx
import typer
from common.contracts.rights import COMMAND_LINE, Role
from rich.markup import escape

from tidemark import console
from tidemark.access import credential
from tidemark.options import running_fleet
from tidemark.state import StateDir
from tidemark.watcher import bearer

ANSWER_TIMEOUT_S: Final = 30.0
DENIED: Final = 2
"""Exit code where the gate has answered no."""

ApiOption = Annotated[str | None, typer.Option("--api", help="The orders service; default: the running fleet's.")]
CommandIdOption = Annotated[
    str | None, typer.Option("--command-id", help="Of an earlier try that got no answer; default: a new one.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="The answer as JSON.")]


def api_of(state: StateDir, api: str | None) -> str:
    """Address of the orders service. Ends the command where no fleet runs."""
    with console.reported():
        return api or running_fleet(state).services["orders"]


async def ask(state: StateDir, base_url: str, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Status and body of the answer to a risk officer. Raises CommandError where there is none."""
    headers = bearer(await credential(state.running(), COMMAND_LINE, [Role.RISK_OFFICER]))
    try:
        async with httpx.AsyncClient(base_url=base_url, timeout=ANSWER_TIMEOUT_S, headers=headers) as client:
            answer = await client.post(path, json=body)
            return answer.status_code, answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise console.CommandError(
            f"no answer from {base_url}: {error}; ask again with --command-id {body['command_id']}"
        ) from error


def show(status: int, answer: dict[str, Any], done: str, *, as_json: bool) -> None:
    """Prints the answer. Exits with 2 where the gate says no, with 1 where it said nothing."""
    result = answer if status < httpx.codes.BAD_REQUEST else answer.get("result", answer)
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
    elif status < httpx.codes.BAD_REQUEST:
        console.out.print(done)
    else:
        numbers = ", ".join(f"{name} {value}" for name, value in answer.get("compared", {}).items())
        reason = answer.get("reason") or answer.get("detail") or answer.get("title")
        console.err.print(f"[bold red]{escape(str(reason))}[/] {escape(numbers)}")
    if status >= httpx.codes.BAD_REQUEST:
        raise typer.Exit(DENIED if status == httpx.codes.UNPROCESSABLE_ENTITY else 1)
