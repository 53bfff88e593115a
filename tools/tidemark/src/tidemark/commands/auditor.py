"""``tidemark auditor``."""

from pathlib import Path
from typing import Annotated

import typer
import uvloop
from auditor.process import run
from auditor.settings import AuditorSettings
from common.postgres_settings import PostgresSettings
from pydantic import SecretStr
from streams.process.logs import configure_logs
from streams.process.settings import HttpSettings, KafkaSettings, RedisSettings, default_data_dir

from tidemark import console
from tidemark.options import (
    DEFAULT_STATE,
    BootstrapOption,
    PostgresOption,
    RedisOption,
    StateDirOption,
    addresses,
)
from tidemark.state import StateDir


def auditor(
    bootstrap: BootstrapOption = None,
    redis: RedisOption = None,
    postgres: PostgresOption = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Where the fleet's stores lie; default: the running fleet's.")
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Of /metrics and /health; 0: any.")] = 0,
    worker: Annotated[str, typer.Option("--worker", help="Its name in the health view.")] = "auditor-cli",
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Compare every store with the committed log, all the time, until Ctrl-C; `tidemark up` runs one of its own.

    Folds the log from its beginning, then looks at RocksDB, PostgreSQL and Redis every second, and at the files of
    every store. What differs is logged, counted in tidemark_auditor_ledger_divergence, and shown on the dashboard.
    """
    where = addresses(StateDir(state_dir), kafka_bootstrap=bootstrap, redis_url=redis, postgres_dsn=postgres)
    stores = data_dir or (Path(where.data_dir) if where.data_dir else default_data_dir())
    settings = AuditorSettings(
        kafka=KafkaSettings(bootstrap=where.kafka_bootstrap),
        redis=RedisSettings(url=where.redis_url),
        postgres=PostgresSettings(dsn=SecretStr(where.postgres_dsn)),
        http=HttpSettings(port=port),
        worker_id=worker,
        data_dir=stores,
    )
    configure_logs("auditor", settings.log_level)
    with console.reported():
        uvloop.run(run(settings))
    console.err.print("stopped")
    raise typer.Exit(console.INTERRUPTED)
