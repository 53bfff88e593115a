"""``tidemark secure``: identities of services at the log, and what each may do there."""

from pathlib import Path
from typing import Annotated

import typer
from common.log_acls import acls
from streams.kafka.acls import create_acls

from tidemark import console
from tidemark.authority import Authority
from tidemark.options import DEFAULT_STATE, BootstrapOption, StateDirOption, addresses, reader_settings
from tidemark.state import StateDir

secure = typer.Typer(
    help="Identities of services at the log: a development authority, certificates, access control lists.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)


@secure.command("init")
def init(
    directory: Annotated[Path, typer.Argument(help="Made, readable to its owner only; what it has is issued anew.")],
    host: Annotated[
        list[str] | None, typer.Option("--host", help="Name or address of the broker; may be repeated.")
    ] = None,
) -> None:
    """Make a development authority, a certificate for the broker and for every service, and a settings file of each.

    Run again, it issues new certificates by the same authority: services take theirs with their next connections.
    """
    with console.reported():
        Authority(directory.resolve()).issue(host or ["localhost", "127.0.0.1"])
    console.err.print(f"{directory} has ca.pem, broker.pem, and for every service a certificate, a key and settings")


@secure.command("acls")
def apply(bootstrap: BootstrapOption = None, state_dir: StateDirOption = DEFAULT_STATE) -> None:
    """Put on the broker what the table of rights says of topics, groups and transactional ids; run it as `admin`."""
    settings = reader_settings(addresses(StateDir(state_dir), kafka_bootstrap=bootstrap))
    count = console.run(create_acls(settings, acls()))
    console.err.print(f"{count} access control lists")
