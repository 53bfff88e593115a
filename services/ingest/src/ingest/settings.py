"""Settings of ingest, from ``TIDEMARK_*`` environment variables."""

import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from streams.process.settings import Settings
from streams.process.settings_tree import NAMELESS, SettingsGroup

from ingest.addresses import endpoint, multicast_group
from ingest.domain.exchange import OPEN_NS, TRADING_DAY_S, ExchangeOptions
from ingest.domain.exchange_books import SYMBOLS_MAX
from ingest.domain.feed_date import date_from_name
from ingest.domain.pace import parse_speed

FEED_NAME_MAX = 16
FeedKind = Literal["idle", "synthetic", "file", "udp", "reader"]


def _checked(place: str) -> str:
    """Raises ValueError where it is neither empty nor an endpoint."""
    if place:
        endpoint(place)
    return place


class GlimpseSettings(SettingsGroup):
    """A server of snapshots of the books, for a late join and after a loss."""

    address: Annotated[str, NAMELESS] = Field(
        default="", description="host:port of a GLIMPSE server, for a late join and after a loss; empty: none"
    )
    user: str = Field(default="", max_length=6, description="user name at the GLIMPSE server")
    password: SecretStr = Field(default=SecretStr(""), description="password there, 10 characters")
    timeout_s: float = Field(
        default=30.0, gt=0, description="a snapshot that is not whole by then is given up; the line waits for it"
    )

    @field_validator("address")
    @classmethod
    def _endpoint(cls, value: str) -> str:
        return _checked(value)


class UdpSettings(SettingsGroup):
    """A line of packets, and when it is believed."""

    host: str = Field(default="127.0.0.1", description="address to receive on; with a group also an interface's name")
    port: int = Field(default=0, ge=0, le=65535, description="port to receive on; 0: a free one")
    group: str = Field(default="", description="multicast group to join; empty: unicast")
    b: str = Field(
        default="", description="side B of the line, host:port or group:port, arbitrated with side A; empty: none"
    )
    b_host: str = Field(default="", description="interface that B's group is joined on; empty: as for A")
    request: str = Field(default="", description="host:port of a re-request server; empty: none")
    glimpse: GlimpseSettings = GlimpseSettings()
    session: str = Field(
        default="", max_length=10, description="MoldUDP64 session to follow, and no other; empty: the first that speaks"
    )
    agreeing_packets: int = Field(
        default=3, ge=1, description="packets in a row that agree before another session, or a jump, is followed"
    )
    silent_ms: int = Field(
        default=3_000,
        ge=1,
        description="nothing useful for so long: not ready, and another session may be followed",
    )
    gap_max: int = Field(
        default=10_000, ge=1, description="messages; a packet further ahead is no evidence of a gap by itself"
    )
    queue_max: int = Field(default=65_536, ge=1, description="datagrams waiting at most")
    buffer_bytes: int = Field(default=8 << 20, ge=4096, description="the socket's receive buffer, asked for")

    @field_validator("request", "b")
    @classmethod
    def _endpoint(cls, value: str) -> str:
        return _checked(value)

    @field_validator("group")
    @classmethod
    def _group(cls, value: str) -> str:
        if value:
            multicast_group(value)
        return value


class FeedSettings(SettingsGroup):
    """The feed that is read, and how fast."""

    kind: Annotated[FeedKind, NAMELESS] = Field(default="idle", description="where bytes come from; idle: from nowhere")
    id: str = Field(default="", description="a session goes on where it was while this stays the same")
    file: Path | None = Field(
        default=None, description="ITCH 5.0, plain or in gzip, bzip2, xz, zstd or zip, for feed=file; -: standard input"
    )
    speed: str = Field(default="1", description="1: as recorded, N: times as fast, max: without waiting")
    date: datetime.date | None = Field(
        default=None, description="the exchange's day; by default the file's name says it"
    )
    strict: bool = Field(default=False, description="a recorded feed of which anything is missing is not ready")
    linger: bool = Field(default=True, description="keep the clock of an ended feed running, so that marks stay")

    events: bool = Field(
        default=False, description="also write the feed's trades, and its best bids and offers, to md.events"
    )

    reader: str = Field(default="", description="name of the feed reader, for feed=reader; see the README")
    sources: tuple[str, ...] = Field(default=(), description="reader: paths, or addresses of a live feed")
    options: dict[str, str] = Field(default={}, description="reader: its options by name")

    seed: int = Field(default=1, ge=0, description="synthetic: same seed, same bytes")
    rate: int = Field(default=20_000, ge=1, description="synthetic: events per second of the exchange's time")
    symbols: int = Field(default=500, ge=1, le=SYMBOLS_MAX, description="synthetic: how many symbols trade")
    duration_s: int = Field(default=TRADING_DAY_S, ge=1, description="synthetic: length of the trading day")
    messages: int = Field(default=0, ge=0, description="synthetic: trading ends after so many; 0: no limit")
    burst: int = Field(default=3, ge=1, description="synthetic: how much busier the first moment of trading is")
    open_s: int = Field(default=OPEN_NS // 1_000_000_000, ge=2, description="synthetic: opening, s after midnight")

    udp: UdpSettings = UdpSettings()

    heartbeat_interval_ms: int = Field(default=100, ge=1, description="wall clock between heartbeats")
    step_ms: int = Field(default=10, ge=0, description="recorded time is let through in steps of this wall time")

    @field_validator("speed")
    @classmethod
    def _speed(cls, value: str) -> str:
        parse_speed(value)
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "file":
            if self.file is None:
                raise ValueError("feed=file needs feed_file")
            if self.date is None:
                date_from_name(self.file.name)
        if self.kind == "reader" and not (self.reader and self.sources):
            raise ValueError("feed=reader needs feed_reader and feed_sources")
        if self.kind == "udp" and self.date is None:
            raise ValueError("feed=udp needs feed_date: a packet line does not say its day")
        return self

    def exchange(self) -> ExchangeOptions:
        """The synthetic exchange's options."""
        return ExchangeOptions(
            symbols=self.symbols,
            seed=self.seed,
            rate=self.rate,
            open_ns=self.open_s * 1_000_000_000,
            duration_s=self.duration_s,
            messages=self.messages,
            burst=self.burst,
        )

    def day(self) -> datetime.date | None:
        """The exchange's day; None where nothing says it (a synthetic feed then has today's)."""
        if self.date is None and self.kind == "file" and self.file is not None:
            return date_from_name(self.file.name)
        return self.date

    def identity(self) -> str:
        """The name under which the session's position is kept: ``id``, or what the feed is made from."""
        if self.id:
            return self.id
        if self.kind == "file" and self.file is not None:
            return f"file:{self.file.name}:{self.day()}"
        if self.kind == "synthetic":
            return f"synthetic:{self.exchange()!r}:{self.date}"
        if self.kind == "reader":
            names = ",".join(Path(source).name for source in self.sources)
            return f"{self.reader}:{names}:{self.date}"
        return f"udp:{self.udp.group or self.udp.host}:{self.udp.port}:{self.date}"

    def name(self) -> str:
        """Name of the feed in frames: at most 16 ASCII characters."""
        name = self.reader or self.kind
        if self.kind == "file" and self.file:
            name = self.file.name
        return name.encode("ascii", "replace").decode()[:FEED_NAME_MAX]


class IngestSettings(Settings):
    """Settings of the feed, and of how it is cut into frames."""

    feed: FeedSettings = FeedSettings()
    frame_ticks_max: int = Field(default=4096, ge=1, le=16_000, description="ticks of one record; 56 bytes each")
    chunk_bytes: int = Field(default=4 << 20, ge=4096, description="bytes read, or made, at a time")
