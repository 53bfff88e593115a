"""Options that several commands share, and how they become addresses.

An address is taken from the option, else from the ``TIDEMARK_*`` environment variable, else from the fleet that runs in
the state directory, else from the default of the compose files.
"""

import os
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from streams.process.settings import KafkaSettings, RedisSettings

from tidemark.console import CommandError
from tidemark.state import DEFAULT_STATE_DIR, Addresses, FleetRecord, StateDir

if TYPE_CHECKING:
    from streams.process.settings import Settings

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
KeyringOption = Annotated[
    Path | None,
    typer.Option(
        "--keyring", envvar="TIDEMARK_KEYRING", help="Folder with a key for each client: personal data is masked."
    ),
]

DEFAULT_STATE: Final = DEFAULT_STATE_DIR
NS_PER_S: Final = 1_000_000_000


def moment_ns(text: str) -> int:
    """A time as ns since the epoch: ISO 8601 with its offset from UTC, or the ns themselves. Raises BadParameter."""
    if text.isdecimal():
        return int(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither ISO 8601 nor ns since the epoch") from None
    if at.tzinfo is None:
        raise typer.BadParameter(f"{text!r} says no offset from UTC: end it with Z or +01:00")
    return int(at.replace(microsecond=0).timestamp()) * NS_PER_S + at.microsecond * 1_000


def addresses(
    state: StateDir,
    *,
    kafka_bootstrap: str | None = None,
    redis_url: str | None = None,
    postgres_dsn: str | None = None,
) -> Addresses:
    """Addresses of the parts, by the order of precedence above."""
    record = _running(state)
    found = record.addresses if record is not None else Addresses()
    from streams.process.settings import Settings
    from streams.process.settings_tree import file_source

    file = file_source(Settings) if record is None else None
    in_file = {name.upper(): value for name, value in file.env_vars.items()} if file is not None else {}
    said = {**in_file, **os.environ}
    environment = {name: value for name, variable in ENVIRONMENT.items() if (value := said.get(variable))}
    given = {"kafka_bootstrap": kafka_bootstrap, "redis_url": redis_url, "postgres_dsn": postgres_dsn}
    chosen = environment | {name: value for name, value in given.items() if value}
    return replace(found, **chosen)


def _running(state: StateDir) -> FleetRecord | None:
    """The fleet that runs here. Where it knows its clients, this process is the command line to it from now on."""
    record = state.running()
    if record is not None and record.identity:
        os.environ.setdefault("TIDEMARK_SETTINGS_FILE", record.identity)
    return record


def reader_settings(where: Addresses) -> "Settings":
    """Settings for the runtime's readers."""
    from streams.process.settings import Settings

    return Settings(
        kafka=KafkaSettings(bootstrap=where.kafka_bootstrap),
        redis=RedisSettings(url=where.redis_url),
        worker_id="tidemark-cli",
    )


def running_fleet(state: StateDir) -> FleetRecord:
    """The fleet of this state directory. Raises CommandError where none runs."""
    record = _running(state)
    if record is None:
        raise CommandError(f"no fleet runs in {state.root}; start one with `tidemark up`")
    return record


assert {field.name for field in fields(Addresses)} == set(ENVIRONMENT), "every address has its variable"
