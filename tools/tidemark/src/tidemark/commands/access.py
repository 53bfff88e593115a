"""``tidemark access``: who may what on the fleet of this state directory."""

import secrets
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from common.contracts.rights import COMMAND_LINE, Role
from rich.markup import escape
from rich.table import Table

from tidemark import console
from tidemark.access import credential, dashboard
from tidemark.issuer.store import AccessStore, Person, hashed
from tidemark.options import DEFAULT_STATE, StateDirOption, running_fleet
from tidemark.state import StateDir

PASSWORD_BYTES: Final = 12
DAY_S: Final = 86_400.0


def _group(about: str) -> typer.Typer:
    return typer.Typer(
        help=about,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_show_locals=False,
    )


access = _group("Who may what here: addresses that sign in, people, keys of programs, and what is revoked.")
people = _group("People who may sign in at the dashboard.")
keys = _group("Keys of programs.")
access.add_typer(people, name="people")
access.add_typer(keys, name="keys")

RolesOption = Annotated[list[Role], typer.Option("--role", help="May be repeated; docs/rights.md says what each may.")]
AccountsOption = Annotated[
    list[str] | None, typer.Option("--account", help="One's own account, or a beginning with *. May be repeated.")
]


def _store(state_dir: StateDirOption) -> AccessStore:
    """Raises CommandError where no fleet was ever started here."""
    store = AccessStore(StateDir(state_dir).access)
    if not store.signing.exists():
        raise console.CommandError(f"there is no issuer in {store.directory}; `tidemark up` makes one")
    return store


@access.command("link")
def link(state_dir: StateDirOption = DEFAULT_STATE) -> None:
    """Print the address of the dashboard; whoever opens it first is signed in as the owner of this directory."""
    with console.reported():
        record = running_fleet(StateDir(state_dir))
    console.out.print(console.run(dashboard(record)), soft_wrap=True)


@access.command("token")
def token(role: RolesOption, state_dir: StateDirOption = DEFAULT_STATE) -> None:
    """Print a token for these roles and every account, good for ten minutes: for curl and the like."""
    with console.reported():
        record = running_fleet(StateDir(state_dir))
    found = console.run(credential(record, COMMAND_LINE, role))
    console.out.print(found or "nobody is asked who he is here", soft_wrap=True)


@access.command("revoke")
def revoke(subject: str, state_dir: StateDirOption = DEFAULT_STATE) -> None:
    """Void everything that was issued to a person or program until now; screens end within a second."""
    with console.reported():
        _store(state_dir).deny_subject(subject)
    console.err.print(f"{subject} is signed out; whoever may sign in still may: see `tidemark access people remove`")


@access.command("rotate")
def rotate(state_dir: StateDirOption = DEFAULT_STATE) -> None:
    """Sign with a new key from now on. Tokens of the one before stay good; those of the one before that do not."""
    with console.reported():
        console.err.print(f"signs with {_store(state_dir).rotate()}")


@access.command("changes")
def changes(state_dir: StateDirOption = DEFAULT_STATE) -> None:
    """Print who let whom in, made or took keys, and revoked: from a record that is chained by hash.

    The last line's hash, kept elsewhere, shows later whether the end was cut off. Ends with 1 where a line was altered,
    dropped or moved. Whoever was erased is not named.
    """
    with console.reported():
        found = _store(state_dir).record.read()
    table = Table("at (UTC)", "by", "change", "subject", "roles", box=None)
    for each in found.changes:
        at = datetime.fromtimestamp(each.at_s, UTC).isoformat(timespec="seconds")
        table.add_row(at, *map(escape, (each.by, each.what, each.subject, ", ".join(each.roles))))
    console.out.print(table)
    console.out.print(f"{found.head.seq} {found.head.chain}", soft_wrap=True)
    if found.broken_line:
        console.err.print(f"[bold red]line {found.broken_line} is not what was written there[/]")
        raise typer.Exit(1)


@people.command("list")
def list_people(state_dir: StateDirOption = DEFAULT_STATE) -> None:
    """Print who may sign in."""
    with console.reported():
        found = _store(state_dir).everybody()
    table = Table("name", "roles", "accounts", "by", box=None)
    for name, each in sorted(found.items()):
        by = "password" if each.password else "link"
        table.add_row(*map(escape, (name, ", ".join(each.roles), ", ".join(each.accounts), by)))
    console.out.print(table)


@people.command("put")
def put_person(
    name: str, role: RolesOption, account: AccountsOption = None, state_dir: StateDirOption = DEFAULT_STATE
) -> None:
    """Let somebody sign in with these rights. Prints a password, which is kept nowhere."""
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    with console.reported():
        person = Person(roles=role, accounts=account or [], password=hashed(password))
        _store(state_dir).put_person(name, person)
    console.out.print(password, soft_wrap=True)


@people.command("remove")
def remove_person(name: str, state_dir: StateDirOption = DEFAULT_STATE) -> None:
    """Let somebody sign in no longer, and void what was issued to him."""
    with console.reported():
        _store(state_dir).remove_person(name)
    console.err.print(f"{name} is gone")


@keys.command("list")
def list_keys(state_dir: StateDirOption = DEFAULT_STATE) -> None:
    """Print the keys of programs, by their ids."""
    with console.reported():
        found = _store(state_dir).all_api_keys()
    table = Table("key", "program", "roles", "accounts", "ends", box=None)
    for name, each in sorted(found.items()):
        ends = datetime.fromtimestamp(each.expires_s, UTC).isoformat(timespec="seconds")
        table.add_row(*map(escape, (name, each.subject, ", ".join(each.roles), ", ".join(each.accounts), ends)))
    console.out.print(table)


@keys.command("make")
def make_key(
    program: str,
    role: RolesOption,
    account: AccountsOption = None,
    days: Annotated[float, typer.Option("--days", min=0.001, max=366, help="How long it is good.")] = 90,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Make a key for a program, with these rights. Prints it; it is kept nowhere."""
    with console.reported():
        name, text = _store(state_dir).make_api_key(program, role, account or [], days * DAY_S)
    console.err.print(f"key {name} of {escape(program)}")
    console.out.print(text, soft_wrap=True)


@keys.command("remove")
def remove_key(key: str, state_dir: StateDirOption = DEFAULT_STATE) -> None:
    """Take a key back. To rotate one, make another first."""
    with console.reported():
        _store(state_dir).remove_api_key(key)
    console.err.print(f"key {key} is gone")
