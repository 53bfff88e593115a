"""Settings of push; environment variables as in ``streams.process.settings``."""

from pathlib import Path

from common.access.settings import ReachedSettings
from common.contracts.leases import GRACE_MS_MAX
from pydantic import Field
from streams.process.settings import RedisSettings
from streams.process.settings_tree import SettingsGroup


def built_dashboard() -> Path:
    """Beside the code where push is installed; where `make web` builds it in a checkout."""
    installed = Path(__file__).parent / "static"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "dashboard" / "dist"


class AddressSettings(SettingsGroup):
    """Limits on all clients of one address."""

    clients_max: int = Field(default=50, ge=1, description="clients of one address at most (IPv6: of a /64)")
    handshakes_per_s_max: float = Field(default=10.0, gt=0, description="new clients of an address a second")
    subscriptions_per_s_max: float = Field(
        default=200.0, gt=0, description="topics asked for a second by all clients of an address; more are read later"
    )
    snapshot_rows_per_s_max: float = Field(
        default=20_000.0, gt=0, description="rows of snapshots a second for all clients of an address; more wait"
    )
    burst_s: float = Field(default=20.0, gt=0, description="an address may have so many seconds' worth at once")


class SubscriptionSettings(SettingsGroup):
    """Topics that one client may ask for."""

    max: int = Field(default=200, ge=1, description="topics per client at most")
    per_s_max: float = Field(
        default=20.0, gt=0, description="topics asked for per second and client, in the long run; more drop it"
    )
    burst_max: int = Field(default=600, ge=1, description="topics a client may ask for at once")


class CommandSettings(SettingsGroup):
    """Messages that one client may send."""

    per_s_max: float = Field(default=50.0, gt=0, description="messages per second and client, in the long run")
    burst_max: int = Field(default=200, ge=1, description="messages a client may send at once")


class PushRedisSettings(RedisSettings):
    """The server that views are shown in, and how push speaks to it."""

    actions_max: int = Field(
        default=250_000, ge=1, description="channels to open or close, or hashes to read; more begin a new connection"
    )
    timeout_s: float = Field(default=3.0, gt=0, description="Redis counts as away when it is silent for longer")
    backoff_min_s: float = Field(default=0.1, gt=0, description="wait before Redis is connected to again")
    backoff_max_s: float = Field(default=5.0, gt=0, description="the same, after several failures in a row")


class PushSettings(ReachedSettings):
    """Settings of push."""

    orders_url: str = Field(
        default="", description="base URL of the orders API as the browser reaches it; empty: no trading"
    )
    lease_grace_s: int = Field(
        default=0,
        ge=0,
        le=GRACE_MS_MAX // 1_000,
        description="orders that a dashboard sent are canceled so long after it was cut off; 0: they stay",
    )
    sign_in_client: str = Field(
        default="dashboard", description="the dashboard's client id at the issuer; it signs in with code and PKCE"
    )
    static_dir: Path = Field(default_factory=built_dashboard, description="the built dashboard")
    allowed_origins: tuple[str, ...] = Field(
        default=(), description="web origins that may connect besides the one that served the page; * for any"
    )

    frames_per_s_max: float = Field(default=20.0, gt=0, description="frames per second and client at most")
    stall_timeout_s: float = Field(default=5.0, gt=0, description="a send that takes longer drops the client")
    drop_grace_s: float = Field(
        default=2.0, ge=0, description="how long a dropped client may take to read its close frame"
    )
    status_interval_s: float = Field(default=1.0, gt=0, description="how often a client hears that push is alive")

    ping_interval_s: float = Field(default=20.0, gt=0, description="how often a client is asked whether it is there")
    pong_timeout_s: float = Field(default=20.0, gt=0, description="a client that does not answer in time is dropped")
    subscribe_timeout_s: float = Field(default=10.0, gt=0, description="a client without a topic for longer is dropped")

    clients_max: int = Field(default=500, ge=1, description="clients of this process at most; one more is refused")
    trusted_proxies: tuple[str, ...] = Field(
        default=(), description="addresses whose X-Forwarded-For is believed; nobody else says where he comes from"
    )
    address: AddressSettings = AddressSettings()
    subscriptions: SubscriptionSettings = SubscriptionSettings()
    message_bytes_max: int = Field(default=65_536, ge=1_024, description="size of a client's message at most")
    commands: CommandSettings = CommandSettings()
    queue_rows_max: int = Field(default=1_000, ge=1, description="unsent orders, or fills, of one account and client")
    client_rows_max: int = Field(default=50_000, ge=1, description="unsent rows of a client; more drop it")

    origin_span_max_s: float = Field(
        default=60.0, gt=0, description="an order that claims to have been sent longer ago counts for no latency"
    )
    accounts_age_max_s: float = Field(default=2.0, ge=0, description="the list of accounts is read again after this")

    redis: PushRedisSettings = PushRedisSettings()
    pending_deltas_max: int = Field(default=20_000, ge=1, description="changes of a scope held while its hash is read")
    reads_parallel: int = Field(default=4, ge=1, description="hashes read from Redis at the same time")
    reread_interval_s: float = Field(default=0.05, ge=0, description="the least time between two reads of one hash")
    relist_interval_s: float = Field(default=1.0, ge=0, description="the least time between two searches for hashes")
    writers_interval_s: float = Field(
        default=1.0, gt=0, description="how often Redis is asked how it is, and whether it still has what was written"
    )
