"""``tidemark secure``: identities of services at Kafka, Redis and PostgreSQL, and what each may do there."""

from pathlib import Path
from typing import Annotated

import typer
from common.log_acls import acls
from streams.kafka.acls import create_acls
from streams.kafka.admin import reread_files

from tidemark import console
from tidemark.authority import Authority, Servers
from tidemark.control import ask
from tidemark.options import (
    DEFAULT_STATE,
    BootstrapOption,
    PostgresOption,
    RedisOption,
    StateDirOption,
    addresses,
    reader_settings,
    running_fleet,
)
from tidemark.secured_parts import make_roles, reload_postgres, reload_redis
from tidemark.state import StateDir

secure = typer.Typer(
    help="Identities of services at Kafka, Redis and PostgreSQL: a development authority, and what each may do.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)


@secure.command("init")
def init(
    directory: Annotated[Path, typer.Argument(help="Made, readable to its owner only; what it has is issued anew.")],
    host: Annotated[
        list[str] | None, typer.Option("--host", help="Name or address of the parts; may be repeated.")
    ] = None,
    redis: Annotated[str, typer.Option("--redis", help="Where services reach Redis, host:port.")] = Servers().redis,
    postgres: Annotated[
        str, typer.Option("--postgres", help="Where they reach PostgreSQL, host:port/database.")
    ] = Servers().postgres,
) -> None:
    """Make a development authority, and certificates, passwords and settings for everybody, each in a directory.

    Run again, it issues new ones by the same authority: services take theirs with their next connections, Kafka, Redis
    and PostgreSQL by `tidemark secure reload`.
    """
    with console.reported():
        Authority(directory.resolve()).issue(host or ["localhost", "127.0.0.1"], Servers(redis, postgres))
    console.err.print(f"{directory} has a directory for Kafka, Redis, PostgreSQL, and for everyone who speaks to them")


@secure.command("acls")
def apply(bootstrap: BootstrapOption = None, state_dir: StateDirOption = DEFAULT_STATE) -> None:
    """Put on the broker what the table of rights says of topics, groups and transactional ids; run it as `admin`."""
    settings = reader_settings(addresses(StateDir(state_dir), kafka_bootstrap=bootstrap))
    count = console.run(create_acls(settings, acls()))
    console.err.print(f"{count} access control lists")


@secure.command("roles")
def roles(postgres: PostgresOption = None, state_dir: StateDirOption = DEFAULT_STATE) -> None:
    """Make PostgreSQL's roles and the projection's tables, and grant what the table says; run it as `admin`."""
    where = addresses(StateDir(state_dir), postgres_dsn=postgres)
    applied = console.run(make_roles(where.postgres_dsn))
    console.err.print(f"roles and rights are as the table says; migrations applied: {applied or 'none'}")


@secure.command("renew")
def renew(state_dir: StateDirOption = DEFAULT_STATE) -> None:
    """Issue certificates and passwords of a fleet of `tidemark up --secure` anew, while it runs; nothing is lost.

    `tidemark access rotate` does the same to the key that signs tokens.
    """
    with console.reported():
        record = running_fleet(StateDir(state_dir))
    console.run(ask(record.control, {"command": "renew"}))
    console.err.print("everybody has new certificates and passwords")


@secure.command("reload")
def reload(
    bootstrap: BootstrapOption = None,
    redis: RedisOption = None,
    postgres: PostgresOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Have Kafka, Redis and PostgreSQL read their certificates again, and their users; run it as `admin`."""
    where = addresses(StateDir(state_dir), kafka_bootstrap=bootstrap, redis_url=redis, postgres_dsn=postgres)

    async def everyone() -> None:
        await reread_files(reader_settings(where))
        await reload_redis(where.redis_url)
        await reload_postgres(where.postgres_dsn)

    console.run(everyone())
    console.err.print("Kafka, Redis and PostgreSQL have read their certificates again, and their users")
