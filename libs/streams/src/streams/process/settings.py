"""Settings of a service process, read from ``TIDEMARK_*`` environment variables; nothing is read at import.

``TIDEMARK_SETTINGS_FILE`` names a file of lines ``TIDEMARK_NAME=value``, as environment files have them, for what the
environment does not say. A variable is named by its setting's place in the tree (``streams.process.settings_tree``).
"""

import os
import socket
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from streams.process.backoff import Backoff
from streams.process.http_limits import DEFAULT_HOSTS, HttpLimits
from streams.process.settings_tree import SettingsGroup, SettingsTree


def default_data_dir() -> Path:
    """Default directory of stores: in the user's state directory (XDG)."""
    return Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state")) / "tidemark"


class SaslSettings(SettingsGroup):
    """Name and password by which the broker knows this service."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        default=None, description="the broker knows this service by name and password; beside an authority, under TLS"
    )
    username: str = Field(default="", description="that name")
    password_file: Path | None = Field(default=None, description="file of that password, in one line")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.mechanism and not (self.username and self.password_file):
            raise ValueError("_MECHANISM needs _USERNAME and _PASSWORD_FILE beside it")
        return self


class KafkaSettings(SettingsGroup):
    """Address of the log, and the files by which it is reached."""

    bootstrap: str = Field(default="127.0.0.1:9092", description="host:port[,host:port…]")
    ca_file: Path | None = Field(
        default=None, description="authorities whose brokers are believed (PEM): the log is then reached by TLS alone"
    )
    certificate_file: Path | None = Field(
        default=None, description="certificate by which the broker knows this service (PEM)"
    )
    key_file: Path | None = Field(default=None, description="private key of that certificate (PEM)")
    sasl: SaslSettings = SaslSettings()


class RedisSettings(SettingsGroup):
    """The server that views are shown in."""

    url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"),
        description="where views are shown; empty: nowhere. `rediss://` with ssl_ca_certs, ssl_certfile, ssl_keyfile "
        "and password_file (lines user:password), which may change while it runs",
    )


class HttpSettings(SettingsGroup):
    """The service's web server, and its limits on its clients."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=0, ge=0, le=65535, description="0: a free port, printed in the log")
    hosts: str = Field(
        default=DEFAULT_HOSTS,
        description="name[,name…] that `Host` may hold, beside the address connected to; else 421",
    )
    certificate_file: Path | None = Field(
        default=None, description="certificate and those above it (PEM): the service then speaks TLS"
    )
    key_file: Path | None = Field(default=None, description="private key of that certificate (PEM)")
    connections_max: int = Field(
        default=4_096, ge=1, description="and half of the files that the process may open; then the longest idle go"
    )
    address_share: float = Field(default=0.8, gt=0, le=1, description="of the connections, for one address")
    head_bytes_max: int = Field(default=16_384, ge=1_024, description="request line and headers; else 431")
    headers_max: int = Field(default=100, ge=10, description="headers of a request; else 431")
    head_timeout_s: float = Field(default=10.0, gt=0, description="for a request's line and headers; else 408")
    body_timeout_s: float = Field(default=10.0, gt=0, description="for a request's body; else 408")
    idle_timeout_s: float = Field(default=30.0, gt=0, description="between two requests; then it is closed")
    stall_timeout_s: float = Field(default=10.0, gt=0, description="an answer not read for so long is cut off")

    def limits(self) -> HttpLimits:
        """Limits of this service's server on its clients."""
        return HttpLimits(
            hosts=tuple(host.strip() for host in self.hosts.split(",") if host.strip()),
            connections_max=self.connections_max,
            address_share=self.address_share,
            head_bytes_max=self.head_bytes_max,
            headers_max=self.headers_max,
            head_timeout_s=self.head_timeout_s,
            body_timeout_s=self.body_timeout_s,
            idle_timeout_s=self.idle_timeout_s,
            stall_timeout_s=self.stall_timeout_s,
        )


class OperationsSettings(SettingsGroup):
    """Pages for operators, where they have a port of their own."""

    port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="port of metrics, health and descriptions, which http.port then has not; 0: a free one; "
        "unset: http.port",
    )
    host: str = Field(default="", description="address of that port; empty: http.host")


class TraceSettings(SettingsGroup):
    """Share of the work that is traced, where traces are exported at all."""

    ratio: float = Field(default=0.01, ge=0, le=1, description="share of new traces that are sampled")
    spans_per_s_max: float = Field(
        default=100, ge=0, description="spans of messages recorded a second at most; the rest of a flood goes untraced"
    )


class TransactionSettings(SettingsGroup):
    """Transactions of the broker."""

    timeout_ms: int = Field(
        default=30_000, ge=1_000, description="the broker aborts a transaction that stays open for longer"
    )
    version: int = Field(
        default=2,
        ge=1,
        le=2,
        description="at most; 1 where the broker's add.partitions.to.txn.retry.backoff.ms is its default of 20",
    )


class BatchSettings(SettingsGroup):
    """Input that a task takes on in one transaction."""

    messages_max: int = Field(default=10_000, ge=1, description="a task's input records per transaction at most")
    handling_ms: int = Field(
        default=50, ge=1, description="a batch is made smaller where handling it keeps the process busy for longer"
    )


class InboxSettings(SettingsGroup):
    """Input that may wait to be handled."""

    messages_max: int = Field(default=20_000, ge=1, description="records waiting per input partition at most")
    bytes_max: int = Field(
        default=16 * 1024 * 1024, ge=1, description="their size at most; one more fetch of 2 MiB may come on top"
    )


class StoreSettings(SettingsGroup):
    """Time after which a worker gives up a partition whose store refuses, and tries it again."""

    give_up_s: float = Field(
        default=10.0, gt=0, description="a store that refuses for so long: another worker is to serve its partition"
    )
    retry_s: float = Field(
        default=60.0,
        gt=0,
        description="when a partition given up is tried again; twice as late each time it is given up",
    )


class RestartSettings(SettingsGroup):
    """Waits before what has failed is tried again."""

    backoff_min_s: float = Field(default=1.0, gt=0, description="wait before a task is opened again")
    backoff_max_s: float = Field(
        default=60.0, gt=0, description="the same, after it has failed several times; doubled each time"
    )

    def backoff(self) -> Backoff:
        """Waits between attempts, from the first on."""
        return Backoff(self.backoff_min_s, self.backoff_max_s)


class ViewsSettings(SettingsGroup):
    """Rows that wait to be shown."""

    queue_max: int = Field(default=50_000, ge=1, description="view rows waiting to be shown at most")
    retry_min_s: float = Field(default=0.5, gt=0, description="wait after a view could not be written to Redis")
    retry_max_s: float = Field(default=2.0, gt=0, description="the same, after several in a row")


class Settings(SettingsTree):
    """Settings that every service shares. A service adds its own in a subclass: fields, groups, and longer groups
    in place of these.
    """

    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    data_dir: Path = Field(default_factory=default_data_dir, description="stores and snapshots, one directory per task")
    worker_id: str = Field(default_factory=socket.gethostname, description="stable name of this worker in its group")
    replicas_share_data: bool = Field(
        default=False,
        description="replicas that are started alike share data_dir: each takes a place in it, and is named by that",
    )
    http: HttpSettings = HttpSettings()
    operations: OperationsSettings = OperationsSettings()
    log_format: Literal["json", "avro"] = Field(
        default="json",
        description="how records are written that can be either; both are read. `avro`: once every reader is this new",
    )
    schema_registry_url: str = Field(
        default="",
        description="base URL of a schema registry (Confluent's API) for ids that are not on file; empty: none",
    )
    otlp_endpoint: str = Field(default="", description="OTLP/HTTP base URL, e.g. http://host:4318; empty: no export")
    trace: TraceSettings = TraceSettings()
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="entries below this level are not written"
    )

    session_timeout_ms: int = Field(
        default=10_000, ge=1_000, description="a member of the group that is silent for longer loses its partitions"
    )
    heartbeat_interval_ms: int = Field(
        default=300, ge=100, description="also how soon a member hears that another is gone"
    )
    transaction: TransactionSettings = TransactionSettings()
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
    batch: BatchSettings = BatchSettings()
    inbox: InboxSettings = InboxSettings()
    store: StoreSettings = StoreSettings()
    restart: RestartSettings = RestartSettings()
    views: ViewsSettings = ViewsSettings()
    blocked_after_s: float = Field(
        default=5.0, gt=0, description="what waits so long for an open transaction says for whose"
    )
    topics_interval_s: float = Field(
        default=5.0, gt=0, description="how often a stage looks whether its topics are as they should be"
    )
    group_offsets_interval_s: float = Field(default=5.0, gt=0, description="how often lag tools see the position")
