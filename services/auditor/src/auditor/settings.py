"""Settings of the auditor, read from ``TIDEMARK_*`` environment variables."""

from common.postgres_settings import PostgresSettings
from pydantic import Field
from streams.process.settings import Settings
from streams.process.settings_tree import SettingsGroup


class AuditSettings(SettingsGroup):
    """Pace of the looks at the stores, how much each reads, and what is excused for how long."""

    interval_s: float = Field(default=1.0, gt=0, description="from one look at the stores to the next")
    hold_s: float = Field(
        default=1.0, ge=0, description="the fold stays so far behind the log that stores stand at or before it"
    )
    rows_max: int = Field(default=2_000, ge=1, description="rows that a look takes of each store at most")
    walk_rows_max: int = Field(
        default=5_000, ge=1, description="rows that a look takes of each append-only table of the projection"
    )
    written_bytes_max: int = Field(
        default=64 * 1024 * 1024,
        ge=0,
        description="a table of the projection up to this size is searched for rows written since the look before",
    )
    files_interval_s: float = Field(default=3.0, gt=0, description="how often a file that grows is read again")
    file_bytes_max: int = Field(
        default=32 * 1024 * 1024, ge=1, description="bytes of unchanged store files that a look reads again"
    )
    grace_s: float = Field(default=2.0, ge=0, description="a view may stand still behind the log for so long")
    calm_s: float = Field(
        default=30.0, ge=0, description="views are not expected to be complete before risk has been up so long"
    )
    excuse_max_s: float = Field(
        default=60.0, gt=0, description="no store, view or writer is excused for longer, whatever it says of itself"
    )
    fill_max_s: float = Field(default=30.0, gt=0, description="a trade must be posted, or be a break, within this time")
    fence: bool = Field(
        default=False, description="raise a fence where the ledger is proven broken: the gate's partition stands still"
    )
    dead_letters_interval_s: float = Field(
        default=3.0, gt=0, description="how often the topics of dead letters are asked whether there are new ones"
    )
    executions_max: int = Field(default=200_000, ge=1, description="executions remembered, the newest")
    orders_max: int = Field(default=200_000, ge=1, description="ended orders remembered, the newest")


class AuditorSettings(Settings):
    """Settings of the auditor. ``data_dir`` is that of the fleet: where its stores lie, read only."""

    postgres: PostgresSettings = PostgresSettings()
    audit: AuditSettings = AuditSettings()
