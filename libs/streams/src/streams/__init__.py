"""Exactly-once stream processing on Kafka. What stands here is the public interface; rooms below it may change.

A name is imported when it is first asked for: a process without stages needs neither Kafka's client nor RocksDB.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from streams.edges.source import Source as Source
    from streams.edges.source import SourceBatch as SourceBatch
    from streams.model.declaration import Stage as Stage
    from streams.model.errors import Fatal as Fatal
    from streams.model.errors import Fenced as Fenced
    from streams.model.errors import Retriable as Retriable
    from streams.model.message import Message as Message
    from streams.model.message import Output as Output
    from streams.model.message import View as View
    from streams.model.tables import Changelogged as Changelogged
    from streams.model.tables import Codec as Codec
    from streams.model.tables import Global as Global
    from streams.model.tables import Snapshotted as Snapshotted
    from streams.model.tables import Tables as Tables
    from streams.model.topics import TEXT_SCHEMA as TEXT_SCHEMA
    from streams.model.topics import Schema as Schema
    from streams.model.topics import Topic as Topic
    from streams.process.settings import KafkaSettings as KafkaSettings
    from streams.process.settings import RedisSettings as RedisSettings
    from streams.process.settings import Settings as Settings
    from streams.process.settings_tree import SettingsGroup as SettingsGroup
    from streams.service.app import App as App

_HOMES: Final = {
    "App": "service.app",
    "Changelogged": "model.tables",
    "Codec": "model.tables",
    "Fatal": "model.errors",
    "Fenced": "model.errors",
    "Global": "model.tables",
    "KafkaSettings": "process.settings",
    "Message": "model.message",
    "Output": "model.message",
    "RedisSettings": "process.settings",
    "Retriable": "model.errors",
    "Schema": "model.topics",
    "Settings": "process.settings",
    "SettingsGroup": "process.settings_tree",
    "Snapshotted": "model.tables",
    "Source": "edges.source",
    "SourceBatch": "edges.source",
    "Stage": "model.declaration",
    "TEXT_SCHEMA": "model.topics",
    "Tables": "model.tables",
    "Topic": "model.topics",
    "View": "model.message",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
