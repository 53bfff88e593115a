"""Settings of ingest, from ``TIDEMARK_*`` environment variables."""

from datetime import date
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from streams.process.settings import Settings

from ingest.addresses import endpoint, multicast_group
from ingest.domain.exchange import OPEN_NS, TRADING_DAY_S, ExchangeOptions
from ingest.domain.exchange_books import SYMBOLS_MAX
from ingest.domain.feed_date import date_from_name
from ingest.domain.pace import parse_speed

FEED_NAME_MAX = 16


class IngestSettings(Settings):
    """Which feed, how fast, and how it is cut into frames."""

    feed: Literal["idle", "synthetic", "file", "udp", "reader"] = Field(
        default="idle", description="where bytes come from; idle: from nowhere"
    )
    feed_id: str = Field(default="", description="a session goes on where it was while this stays the same")
    feed_file: Path | None = Field(
        default=None, description="ITCH 5.0, plain or in gzip, bzip2, xz, zstd or zip, for feed=file; -: standard input"
    )
    feed_speed: str = Field(default="1", description="1: as recorded, N: times as fast, max: without waiting")
    feed_date: date | None = Field(default=None, description="the exchange's day; by default the file's name says it")
    feed_strict: bool = Field(default=False, description="a recorded feed of which anything is missing is not ready")
    feed_linger: bool = Field(default=True, description="keep the clock of an ended feed running, so that marks stay")

    feed_events: bool = Field(
        default=False, description="also write the feed's trades, and its best bids and offers, to md.events"
    )

    feed_reader: str = Field(default="", description="name of the feed reader, for feed=reader; see the README")
    feed_sources: tuple[str, ...] = Field(default=(), description="reader: paths, or addresses of a live feed")
    feed_options: dict[str, str] = Field(default_factory=dict, description="reader: its options by name")

    feed_seed: int = Field(default=1, ge=0, description="synthetic: same seed, same bytes")
    feed_rate: int = Field(default=20_000, ge=1, description="synthetic: events per second of the exchange's time")
    feed_symbols: int = Field(default=500, ge=1, le=SYMBOLS_MAX, description="synthetic: how many symbols trade")
    feed_duration_s: int = Field(default=TRADING_DAY_S, ge=1, description="synthetic: length of the trading day")
    feed_messages: int = Field(default=0, ge=0, description="synthetic: trading ends after so many; 0: no limit")
    feed_burst: int = Field(default=3, ge=1, description="synthetic: how much busier the first moment of trading is")
    feed_open_s: int = Field(default=OPEN_NS // 1_000_000_000, ge=2, description="synthetic: opening, s after midnight")

    feed_udp_host: str = Field(
        default="127.0.0.1", description="address to receive on; with a group also an interface's name"
    )
    feed_udp_port: int = Field(default=0, ge=0, le=65535, description="port to receive on; 0: a free one")
    feed_udp_group: str = Field(default="", description="multicast group to join; empty: unicast")
    feed_udp_b: str = Field(
        default="", description="side B of the line, host:port or group:port, arbitrated with side A; empty: none"
    )
    feed_udp_b_host: str = Field(default="", description="interface that B's group is joined on; empty: as for A")
    feed_udp_request: str = Field(default="", description="host:port of a re-request server; empty: none")
    feed_udp_glimpse: str = Field(
        default="", description="host:port of a GLIMPSE server, for a late join and after a loss; empty: none"
    )
    feed_udp_glimpse_user: str = Field(default="", max_length=6, description="user name at the GLIMPSE server")
    feed_udp_glimpse_password: SecretStr = Field(default=SecretStr(""), description="password there, 10 characters")
    feed_udp_glimpse_timeout_s: float = Field(
        default=30.0, gt=0, description="a snapshot that is not whole by then is given up; the line waits for it"
    )
    feed_udp_session: str = Field(
        default="", max_length=10, description="MoldUDP64 session to follow, and no other; empty: the first that speaks"
    )
    feed_udp_agreeing_packets: int = Field(
        default=3, ge=1, description="packets in a row that agree before another session, or a jump, is followed"
    )
    feed_udp_silent_ms: int = Field(
        default=3_000,
        ge=1,
        description="nothing useful for so long: not ready, and another session may be followed",
    )
    feed_udp_gap_max: int = Field(
        default=10_000, ge=1, description="messages; a packet further ahead is no evidence of a gap by itself"
    )
    feed_udp_queue_max: int = Field(default=65_536, ge=1, description="datagrams waiting at most")
    feed_udp_buffer_bytes: int = Field(default=8 << 20, ge=4096, description="the socket's receive buffer, asked for")

    feed_heartbeat_interval_ms: int = Field(default=100, ge=1, description="wall clock between heartbeats")
    feed_step_ms: int = Field(default=10, ge=0, description="recorded time is let through in steps of this wall time")
    frame_ticks_max: int = Field(default=4096, ge=1, le=16_000, description="ticks of one record; 56 bytes each")
    chunk_bytes: int = Field(default=4 << 20, ge=4096, description="bytes read, or made, at a time")

    @field_validator("feed_udp_request", "feed_udp_b", "feed_udp_glimpse")
    @classmethod
    def _endpoint(cls, value: str) -> str:
        if value:
            endpoint(value)
        return value

    @field_validator("feed_udp_group")
    @classmethod
    def _group(cls, value: str) -> str:
        if value:
            multicast_group(value)
        return value

    @field_validator("feed_speed")
    @classmethod
    def _speed(cls, value: str) -> str:
        parse_speed(value)
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.feed == "file":
            if self.feed_file is None:
                raise ValueError("feed=file needs feed_file")
            if self.feed_date is None:
                date_from_name(self.feed_file.name)
        if self.feed == "reader" and not (self.feed_reader and self.feed_sources):
            raise ValueError("feed=reader needs feed_reader and feed_sources")
        if self.feed == "udp" and self.feed_date is None:
            raise ValueError("feed=udp needs feed_date: a packet line does not say its day")
        return self

    def exchange(self) -> ExchangeOptions:
        """The synthetic exchange's options."""
        return ExchangeOptions(
            symbols=self.feed_symbols,
            seed=self.feed_seed,
            rate=self.feed_rate,
            open_ns=self.feed_open_s * 1_000_000_000,
            duration_s=self.feed_duration_s,
            messages=self.feed_messages,
            burst=self.feed_burst,
        )

    def feed_day(self) -> date | None:
        """The exchange's day; None where nothing says it (a synthetic feed then has today's)."""
        if self.feed_date is None and self.feed == "file" and self.feed_file is not None:
            return date_from_name(self.feed_file.name)
        return self.feed_date

    def feed_identity(self) -> str:
        """The name under which the session's position is kept: ``feed_id``, or what the feed is made from."""
        if self.feed_id:
            return self.feed_id
        if self.feed == "file" and self.feed_file is not None:
            return f"file:{self.feed_file.name}:{self.feed_day()}"
        if self.feed == "synthetic":
            return f"synthetic:{self.exchange()!r}:{self.feed_date}"
        if self.feed == "reader":
            names = ",".join(Path(source).name for source in self.feed_sources)
            return f"{self.feed_reader}:{names}:{self.feed_date}"
        return f"udp:{self.feed_udp_group or self.feed_udp_host}:{self.feed_udp_port}:{self.feed_date}"

    def feed_name(self) -> str:
        """Name of the feed in frames: at most 16 ASCII characters."""
        name = self.feed_reader or self.feed
        if self.feed == "file" and self.feed_file:
            name = self.feed_file.name
        return name.encode("ascii", "replace").decode()[:FEED_NAME_MAX]
