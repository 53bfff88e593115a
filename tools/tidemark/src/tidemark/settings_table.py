"""Every setting of every service: its variable, its value here, and where that value comes from."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from auditor.settings import AuditorSettings
from common.access.settings import ReachedSettings
from ingest.settings import IngestSettings
from orders.settings import OrdersSettings
from push.settings import PushSettings
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python
from pydantic_settings import SettingsError
from risk.settings import RiskSettings
from signals.settings import SignalsSettings
from streams.process.settings import Settings
from streams.process.settings_tree import FILE_VARIABLE, PREFIX, Place, TreeSource, file_source, places
from streams.process.start import said

from tidemark.access import CREDENTIAL_VARIABLE
from tidemark.console import CommandError

SHARED: Final = "every service"
REACHED: Final = "orders, push and signals"
"""Services that people and programs reach; the others serve operators' pages."""
CLASSES: Final[Mapping[str, type[Settings]]] = {
    SHARED: Settings,
    REACHED: ReachedSettings,
    "ingest": IngestSettings,
    "signals": SignalsSettings,
    "risk": RiskSettings,
    "orders": OrdersSettings,
    "push": PushSettings,
    "auditor": AuditorSettings,
}
OTHERS: Final[Mapping[str, str]] = {
    FILE_VARIABLE: "a file of lines `NAME=value` with settings that the environment does not have",
    CREDENTIAL_VARIABLE: "a token, or a program's key, with which `tidemark` says who it is to a fleet elsewhere",
    "TIDEMARK_STATE_DIR": "where `tidemark` keeps the state, logs and data of a fleet on this machine",
    "TIDEMARK_PARTS": "`docker`, `native` or `auto`: how Kafka, Redis and PostgreSQL are started on this machine",
    "TIDEMARK_BROWSER": "path of the Chromium that browser tests and the demo's picture use",
    "TIDEMARK_DATA": "a folder with recorded exchange data, for the tests that need it",
    "TIDEMARK_PICTURES": "a folder that browser tests put pictures of their pages into",
    "TIDEMARK_FUZZ_SECONDS": "for how long tests damage feeds (`make fuzz`)",
    "TIDEMARK_FUZZ_SEED": "the number by which such a run can be repeated",
    "TIDEMARK_FAILPOINT": "a numbered step at which the process kills itself (docs/failpoints.md)",
}
"""Variables that are no setting of a service."""
HIDDEN: Final = "**********"
_PASSWORD: Final = re.compile(r"(://[^/@\s:]*:)[^/@\s]+(?=@)")


class Origin(StrEnum):
    DEFAULT = "default"
    ENVIRONMENT = "environment"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of one service; ``value`` as JSON has it, a secret's is hidden."""

    service: str
    name: str
    """Its place in the service's settings."""
    variable: str
    value: Any
    origin: Origin
    secret: bool
    description: str

    @property
    def text(self) -> str:
        return self.value if isinstance(self.value, str) else json.dumps(self.value)


def is_secret(field: FieldInfo) -> bool:
    return field.annotation is SecretStr


def settings_of(service: str) -> list[Setting]:
    """The settings that a service would have if it were started here and now, in the order of their places.

    Raises CommandError where it would refuse them; the text names the variables, and no value.
    """
    tree = CLASSES[service]
    try:
        settings = tree()
    except ValidationError as refusal:
        raise CommandError(f"{service} refuses its settings: {said(refusal, tree)}") from None
    except (SettingsError, FileNotFoundError) as refusal:  # a value that is no JSON; a file that is not there
        raise CommandError(f"{service} cannot read its settings: {refusal}") from None
    sources = {Origin.ENVIRONMENT: TreeSource(tree, os.environ), Origin.FILE: file_source(tree)}
    return [_setting(service, place, settings, sources) for place in places(tree)]


def _setting(service: str, place: Place, settings: Settings, sources: Mapping[Origin, TreeSource | None]) -> Setting:
    """``sources``: the one that goes before the others first."""
    said_in = (origin for origin, source in sources.items() if source is not None and source.text(place) is not None)
    secret = is_secret(place.field)
    value = HIDDEN if secret else _without_passwords(to_jsonable_python(place.value(settings)))
    about = place.field.description or ""
    return Setting(service, ".".join(place.path), place.variable, value, next(said_in, Origin.DEFAULT), secret, about)


def _without_passwords(value: Any) -> Any:
    """The value with the password of every URL hidden: those that are no secrets as a whole may carry one."""
    return _PASSWORD.sub(rf"\g<1>{HIDDEN}", value) if isinstance(value, str) else value


def every_setting() -> list[Setting]:
    """Settings that all services share, then those that each has beside them. Raises CommandError."""
    own_names = {service: {place.variable for place in own(service)} for service in CLASSES}
    return [each for service in CLASSES for each in settings_of(service) if each.variable in own_names[service]]


def own(service: str) -> list[Place]:
    """Settings that the service's classes declare, and not those of what it shares with others."""
    tree = CLASSES[service]
    bases = [other for other in (Settings, ReachedSettings) if issubclass(tree, other) and other is not tree]
    shared = {place.declared for base in bases for place in places(base)}
    return [place for place in places(tree) if place.declared not in shared]


def unknown() -> list[str]:
    """Variables of the environment and the file with the settings' prefix that nothing reads: mostly misspelt ones."""
    file = file_source(Settings)
    given = {name.upper() for name in (*os.environ, *(file.env_vars if file else ()))}
    known = {place.variable for tree in CLASSES.values() for place in places(tree)} | set(OTHERS)
    return sorted(name for name in given - known if name.startswith(PREFIX))
