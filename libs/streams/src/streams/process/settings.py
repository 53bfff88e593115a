"""Settings of a service process, read from ``TIDEMARK_*`` environment variables; nothing is read at import.

``TIDEMARK_SETTINGS_FILE`` names a file of lines ``TIDEMARK_NAME=value``, as environment files have them, for what the
environment does not say.
"""

import os
import socket
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from streams.process.http_limits import DEFAULT_HOSTS, HttpLimits

FILE_VARIABLE: Final = "TIDEMARK_SETTINGS_FILE"


def default_data_dir() -> Path:
    """Default directory of stores: in the user's state directory (XDG)."""
    return Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state")) / "tidemark"


def file_source(settings: type[BaseSettings]) -> DotEnvSettingsSource | None:
    """The file of settings, if one is named. Raises FileNotFoundError where it is not there."""
    name = os.environ.get(FILE_VARIABLE)
    if not name:
        return None
    if not Path(name).is_file():
        raise FileNotFoundError(f"{FILE_VARIABLE} names {name}, which is no file")
    return DotEnvSettingsSource(settings, env_file=name, env_file_encoding="utf-8")


class Settings(BaseSettings):
    """Settings that every service shares. A service adds its own fields in a subclass."""

    model_config = SettingsConfigDict(env_prefix="TIDEMARK_", frozen=True, extra="ignore")

    kafka_bootstrap: str = Field(default="127.0.0.1:9092", description="host:port[,host:port…]")
    kafka_ca_file: Path | None = Field(
        default=None, description="authorities whose brokers are believed (PEM): the log is then reached by TLS alone"
    )
    kafka_certificate_file: Path | None = Field(
        default=None, description="certificate by which the broker knows this service (PEM)"
    )
    kafka_key_file: Path | None = Field(default=None, description="private key of that certificate (PEM)")
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        default=None, description="the broker knows this service by name and password; beside an authority, under TLS"
    )
    kafka_sasl_username: str = Field(default="", description="that name")
    kafka_sasl_password_file: Path | None = Field(default=None, description="file of that password, in one line")
    redis_url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"),
        description="where views are shown; empty: nowhere. `rediss://` with ssl_ca_certs, ssl_certfile, ssl_keyfile "
        "and password_file (lines user:password), which may change while it runs",
    )
    data_dir: Path = Field(default_factory=default_data_dir, description="stores and snapshots, one directory per task")
    worker_id: str = Field(default_factory=socket.gethostname, description="stable name of this worker in its group")
    replicas_share_data: bool = Field(
        default=False,
        description="replicas that are started alike share data_dir: each takes a place in it, and is named by that",
    )
    http_host: str = Field(default="127.0.0.1", description="address to listen on")
    http_port: int = Field(default=0, ge=0, le=65535, description="0: a free port, printed in the log")
    operations_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="port of metrics, health and descriptions, which http_port then has not; 0: a free one; "
        "unset: http_port",
    )
    operations_host: str = Field(default="", description="address of that port; empty: http_host")
    http_hosts: str = Field(
        default=DEFAULT_HOSTS,
        description="name[,name…] that `Host` may hold, beside the address connected to; else 421",
    )
    http_certificate_file: Path | None = Field(
        default=None, description="certificate and those above it (PEM): the service then speaks TLS"
    )
    http_key_file: Path | None = Field(default=None, description="private key of that certificate (PEM)")
    http_connections_max: int = Field(
        default=4_096, ge=1, description="and half of the files that the process may open; then the longest idle go"
    )
    http_address_share: float = Field(default=0.8, gt=0, le=1, description="of the connections, for one address")
    http_head_bytes_max: int = Field(default=16_384, ge=1_024, description="request line and headers; else 431")
    http_headers_max: int = Field(default=100, ge=10, description="headers of a request; else 431")
    http_head_timeout_s: float = Field(default=10.0, gt=0, description="for a request's line and headers; else 408")
    http_body_timeout_s: float = Field(default=10.0, gt=0, description="for a request's body; else 408")
    http_idle_timeout_s: float = Field(default=30.0, gt=0, description="between two requests; then it is closed")
    http_stall_timeout_s: float = Field(default=10.0, gt=0, description="an answer not read for so long is cut off")
    log_format: Literal["json", "avro"] = Field(
        default="json",
        description="how records are written that can be either; both are read. `avro`: once every reader is this new",
    )
    schema_registry_url: str = Field(
        default="",
        description="base URL of a schema registry (Confluent's API) for ids that are not on file; empty: none",
    )
    otlp_endpoint: str = Field(default="", description="OTLP/HTTP base URL, e.g. http://host:4318; empty: no export")
    trace_ratio: float = Field(default=0.01, ge=0, le=1, description="share of new traces that are sampled")
    trace_spans_per_s_max: float = Field(
        default=100, ge=0, description="spans of messages recorded a second at most; the rest of a flood goes untraced"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="entries below this level are not written"
    )

    session_timeout_ms: int = Field(
        default=10_000, ge=1_000, description="a member of the group that is silent for longer loses its partitions"
    )
    heartbeat_interval_ms: int = Field(
        default=300, ge=100, description="also how soon a member hears that another is gone"
    )
    transaction_timeout_ms: int = Field(
        default=30_000, ge=1_000, description="the broker aborts a transaction that stays open for longer"
    )
    transaction_version: int = Field(
        default=2,
        ge=1,
        le=2,
        description="at most; 1 where the broker's add.partitions.to.txn.retry.backoff.ms is its default of 20",
    )
    commit_timeout_ms: int = Field(default=15_000, ge=100, description="after this the outcome counts as unknown")
    settle_timeout_ms: int = Field(default=3_000, ge=100, description="a quiet task asks if its commit can be read")
    request_timeout_ms: int = Field(default=10_000, ge=100, description="for the broker's answer to one request")
    producers: Literal["task", "process"] = Field(
        default="process", description="a transactional producer for each partition, or one for all of the process"
    )
    handover_wait_ms: int = Field(
        default=500, ge=0, description="one producer per process: how long an owner that lives may take to let go"
    )
    standbys: int = Field(
        default=0, ge=0, le=2, description="keep stores of others' partitions fresh: so many workers may die at once"
    )
    batch_messages_max: int = Field(default=10_000, ge=1, description="a task's input records per transaction at most")
    batch_handling_ms: int = Field(
        default=50, ge=1, description="a batch is made smaller where handling it keeps the process busy for longer"
    )
    inbox_messages_max: int = Field(default=20_000, ge=1, description="records waiting per input partition at most")
    inbox_bytes_max: int = Field(
        default=16 * 1024 * 1024, ge=1, description="their size at most; one more fetch of 2 MiB may come on top"
    )
    store_give_up_s: float = Field(
        default=10.0, gt=0, description="a store that refuses for so long: another worker is to serve its partition"
    )
    store_retry_s: float = Field(
        default=60.0,
        gt=0,
        description="when a partition given up is tried again; twice as late each time it is given up",
    )
    restart_backoff_min_s: float = Field(default=1.0, gt=0, description="wait before a task is opened again")
    restart_backoff_max_s: float = Field(
        default=60.0, gt=0, description="the same, after it has failed several times; doubled each time"
    )
    views_queue_max: int = Field(default=50_000, ge=1, description="view rows waiting to be shown at most")
    views_retry_min_s: float = Field(default=0.5, gt=0, description="wait after a view could not be written to Redis")
    views_retry_max_s: float = Field(default=2.0, gt=0, description="the same, after several in a row")
    blocked_after_s: float = Field(
        default=5.0, gt=0, description="what waits so long for an open transaction says for whose"
    )
    topics_interval_s: float = Field(
        default=5.0, gt=0, description="how often a stage looks whether its topics are as they should be"
    )
    group_offsets_interval_s: float = Field(default=5.0, gt=0, description="how often lag tools see the position")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order of precedence: the caller's values, the environment, the file; pydantic-settings calls this."""
        file = file_source(settings_cls)
        return (init_settings, env_settings) if file is None else (init_settings, env_settings, file)

    @model_validator(mode="after")
    def _known_to_the_broker(self) -> Self:
        if self.kafka_sasl_mechanism and not (self.kafka_sasl_username and self.kafka_sasl_password_file):
            raise ValueError("TIDEMARK_KAFKA_SASL_MECHANISM needs _USERNAME and _PASSWORD_FILE beside it")
        return self

    def http_limits(self) -> HttpLimits:
        """Limits of this service's server on its clients."""
        return HttpLimits(
            hosts=tuple(host.strip() for host in self.http_hosts.split(",") if host.strip()),
            connections_max=self.http_connections_max,
            address_share=self.http_address_share,
            head_bytes_max=self.http_head_bytes_max,
            headers_max=self.http_headers_max,
            head_timeout_s=self.http_head_timeout_s,
            body_timeout_s=self.http_body_timeout_s,
            idle_timeout_s=self.http_idle_timeout_s,
            stall_timeout_s=self.http_stall_timeout_s,
        )
