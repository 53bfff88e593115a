"""Options that several commands share, and how they become addresses.

An address is taken from the option, else from the ``TIDEMARK_*`` environment variable, else from the fleet that runs in
the state directory, else from the default of the compose files.
"""

import os
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Final

import typer
from common.contracts.topics import GROUPS
from common.fleet_topics import group_partitions
from streams.model.topics import DEFAULT_PARTITIONS
from streams.process.settings import Settings

from tidemark.console import CommandError
from tidemark.state import DEFAULT_STATE_DIR, Addresses, FleetRecord, StateDir

ENVIRONMENT: Final[Mapping[str, str]] = {
    "kafka_bootstrap": "TIDEMARK_KAFKA_BOOTSTRAP",
    "redis_url": "TIDEMARK_REDIS_URL",
    "postgres_dsn": "TIDEMARK_POSTGRES_DSN",
    "data_dir": "TIDEMARK_DATA_DIR",
}

StateDirOption = Annotated[
    Path, typer.Option("--state-dir", envvar="TIDEMARK_STATE_DIR", help="Where the fleet's state, logs and data lie.")
]
BootstrapOption = Annotated[
    str | None, typer.Option("--bootstrap", help="Kafka, host:port[,host:port…]; default: the running fleet's.")
]
RedisOption = Annotated[str | None, typer.Option("--redis", help="Redis URL; default: the running fleet's.")]
PostgresOption = Annotated[str | None, typer.Option("--postgres", help="PostgreSQL DSN; default: the running fleet's.")]

PartitionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--partitions",
        metavar="[GROUP=]N",
        help=f"Of topics that are created: of every co-partition group, or of one of "
        f"{', '.join(group.name for group in GROUPS)}; repeatable. Default: the cluster's, else {DEFAULT_PARTITIONS}.",
    ),
]

BrokersOption = Annotated[
    int, typer.Option("--brokers", help="1, or 3: every record is on each of them, and two have it before it counts.")
]

DEFAULT_STATE: Final = DEFAULT_STATE_DIR


def chosen_partitions(asked: list[str] | None) -> dict[str, int]:
    """Group → number of partitions, of ``PartitionsOption``."""
    try:
        return group_partitions(asked or ())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--partitions") from error


def checked_brokers(brokers: int) -> None:
    """Raises BadParameter where no cluster of that many can be started."""
    if brokers not in (1, 3):
        raise typer.BadParameter("1 or 3: a quorum is odd", param_hint="--brokers")


def addresses(
    state: StateDir,
    *,
    kafka_bootstrap: str | None = None,
    redis_url: str | None = None,
    postgres_dsn: str | None = None,
) -> Addresses:
    """Addresses of the parts, by the order of precedence above."""
    record = state.running()
    found = record.addresses if record is not None else Addresses()
    environment = {name: os.environ[variable] for name, variable in ENVIRONMENT.items() if os.environ.get(variable)}
    given = {"kafka_bootstrap": kafka_bootstrap, "redis_url": redis_url, "postgres_dsn": postgres_dsn}
    chosen = environment | {name: value for name, value in given.items() if value}
    return replace(found, **chosen)


def reader_settings(where: Addresses) -> Settings:
    """Settings for the runtime's readers."""
    return Settings(kafka_bootstrap=where.kafka_bootstrap, redis_url=where.redis_url, worker_id="tidemark-cli")


def running_fleet(state: StateDir) -> FleetRecord:
    """The fleet of this state directory. Raises CommandError where none runs."""
    record = state.running()
    if record is None:
        raise CommandError(f"no fleet runs in {state.root}; start one with `tidemark up`")
    return record


assert {field.name for field in fields(Addresses)} == set(ENVIRONMENT), "every address has its variable"
