"""Settings of a service that opens PostgreSQL."""

from pydantic import Field, SecretStr
from streams.process.settings_tree import SettingsGroup


class PostgresSettings(SettingsGroup):
    """The database that the projection is in."""

    dsn: SecretStr = Field(
        default=SecretStr("postgresql://tidemark@127.0.0.1:5432/tidemark"), description="libpq URL of the projection"
    )
