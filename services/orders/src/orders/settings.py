"""Settings of the orders service, from ``TIDEMARK_*`` environment variables."""

from enum import StrEnum
from typing import Self

from common.access.settings import ReachedSettings
from common.postgres_settings import PostgresSettings
from pydantic import Field, field_validator
from streams.process.settings import BatchSettings, HttpSettings
from streams.process.settings_tree import SettingsGroup


class OrdersRole(StrEnum):
    """A part of the service that a process can run alone. The parts meet on the log, and in PostgreSQL."""

    API = "api"
    """Serves HTTP, answers from the committed tail and from PostgreSQL."""
    WORKER = "worker"
    """Runs the stages: the lifecycle and the venue."""
    PROJECTION = "projection"
    """Writes PostgreSQL."""


class OrdersBatchSettings(BatchSettings):
    """Input that a stage takes on in one transaction."""

    messages_max: int = Field(
        default=500, ge=1, description="input records per transaction at most; a batch holds up the API for its time"
    )


class OrdersHttpSettings(HttpSettings):
    """The API's web server, and its limits on its clients."""

    requests_max: int = Field(
        default=2_000, ge=1, description="requests that run or wait, reads too; one more is refused with 429 or 503"
    )
    body_bytes_max: int = Field(default=65_536, ge=1_024, description="size of a request's body at most")


class OrdersPostgresSettings(PostgresSettings):
    """The database that the projection is in, and connections to it."""

    writer: str = Field(
        default="", description="role by which the projection is written; empty: that of the URL, which reads"
    )
    pool_max: int = Field(default=8, ge=2, description="connections of this process at most")
    timeout_ms: int = Field(default=5_000, ge=100, description="connecting, or one transaction of the projection")


class ShareSettings(SettingsGroup):
    """Load that the API takes of one account, or address, beside others."""

    requests: int = Field(
        default=64,
        ge=1,
        description="requests of one account, or address, that always run; more up to twice the others'",
    )
    busy: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="of the event loop's time, for one beside others; more up to twice theirs; reads count twice",
    )
    orders_per_s: float = Field(
        default=200,
        gt=0,
        description="orders, cancels and commands of an account a second while others write; more up to twice theirs",
    )
    waiting: int = Field(
        default=25, ge=1, description="requests that wait for their turn, of one that uses up its time; more get 429"
    )
    burst_ms: int = Field(default=500, ge=0, description="for so long more of them may wait")
    wait_ms: int = Field(default=5_000, ge=1, description="a request that has no turn by then gets 429")


class OrdersSettings(ReachedSettings):
    """Settings of the orders service beside those that every service shares."""

    batch: OrdersBatchSettings = OrdersBatchSettings()
    http: OrdersHttpSettings = OrdersHttpSettings()
    orders_roles: str = Field(
        default=",".join(OrdersRole),
        description="name[,name…] of the parts that this process runs; each part must run somewhere",
    )
    stages_rest: float = Field(
        default=3.0,
        ge=0,
        description="a stage rests after a commit for so many times what that took, 0.1 s at most, and leaves the time "
        "to requests and to the gate; 0: never, where processors are plenty",
    )
    postgres: OrdersPostgresSettings = OrdersPostgresSettings()
    reads_timeout_ms: int = Field(
        default=2_000, ge=100, description="what PostgreSQL may take for a read, waiting included"
    )
    projection_backoff_max_s: float = Field(
        default=5.0, gt=0, description="the projection tries again this long after PostgreSQL refused it, at the latest"
    )
    checks: list[str] = Field(
        default=[], description="as the risk service's, so that the API's description has the reasons of the same gate"
    )
    verdict_timeout_ms: int = Field(default=5_000, ge=1, description="after this a request is answered with 503")
    inflight_max: int = Field(default=1_000, ge=1, description="requests that wait for a verdict at most")
    cancel_beside_ms: int = Field(
        default=100, ge=0, description="a cancel of an unknown order waits as long for the order to come beside it"
    )
    unknown_cancels_max: int = Field(
        default=8, ge=1, description="cancels of orders that the read side does not know, at a time; more take turns"
    )
    orders_recent_max: int = Field(
        default=20_000,
        ge=1,
        description="orders, and accounts, whose newest committed state is kept until the projection has it",
    )
    share: ShareSettings = ShareSettings()
    sent_ns_within_s: float = Field(
        default=10.0, gt=0, description="a `Tidemark-Sent-Ns` further from the server's clock is not used"
    )
    venue_calendar: str = Field(
        default="XNAS", description="sessions of the venue: a calendar of this package, or the path of a .json file"
    )
    page_rows_max: int = Field(default=500, ge=1, description="rows of one page at most")
    cors_origin_regex: str = Field(
        default=r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?",
        description="origins whose pages may call the API, as a regular expression",
    )

    @field_validator("orders_roles")
    @classmethod
    def _known_roles(cls, value: str) -> str:
        _roles_in(value)
        return value

    @property
    def roles(self) -> frozenset[OrdersRole]:
        """Parts that this process runs; at least one."""
        return _roles_in(self.orders_roles)

    def beside_a_worker(self) -> Self:
        """Settings of a process without stages: it may be started with the worker id of the process that has them."""
        return self.model_copy(update={"worker_id": f"{self.worker_id}.{'.'.join(sorted(self.roles))}"})


def _roles_in(names: str) -> frozenset[OrdersRole]:
    """Raises ValueError where there is none, or one that is not known."""
    named = [name.strip() for name in names.split(",")]
    if unknown := sorted(set(named) - set(OrdersRole)):
        raise ValueError(f"{', '.join(map(repr, unknown))}: a part is one of {', '.join(OrdersRole)}")
    return frozenset(map(OrdersRole, named))
