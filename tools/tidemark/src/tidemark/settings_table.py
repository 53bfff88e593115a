"""Every setting of every service: its variable, its value here, and where that value comes from."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from auditor.settings import AuditorSettings
from common.access.settings import AccessSettings
from ingest.settings import IngestSettings
from orders.settings import OrdersSettings
from push.settings import PushSettings
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource, SettingsError
from risk.settings import RiskSettings
from signals.settings import SignalsSettings
from streams.process.settings import FILE_VARIABLE, Settings, file_source
from streams.process.start import said, variable

from tidemark.access import CREDENTIAL_VARIABLE
from tidemark.console import CommandError

SHARED: Final = "every service"
REACHED: Final = "orders, push and signals"
"""Services that people and programs reach; the others serve operators' pages."""
CLASSES: Final[Mapping[str, type[Settings]]] = {
    SHARED: Settings,
    REACHED: AccessSettings,
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
    """The settings that a service would have if it were started here and now, by name of the field in their order.

    Raises CommandError where it would refuse them; the text names the variables, and no value.
    """
    settings = CLASSES[service]
    try:
        values = settings()
    except ValidationError as refusal:
        raise CommandError(f"{service} refuses its settings: {said(refusal)}") from None
    except (SettingsError, FileNotFoundError) as refusal:  # a value that is no JSON; a file that is not there
        raise CommandError(f"{service} cannot read its settings: {refusal}") from None
    environment = EnvSettingsSource(settings)()
    file = file_source(settings)
    in_file = file() if file is not None else {}
    found = []
    for name, field in settings.model_fields.items():
        origin = Origin.ENVIRONMENT if name in environment else Origin.FILE if name in in_file else Origin.DEFAULT
        value = HIDDEN if is_secret(field) else _without_passwords(values.model_dump(mode="json", include={name})[name])
        about = field.description or ""
        found.append(Setting(service, name, variable(name), value, origin, is_secret(field), about))
    return found


def _without_passwords(value: Any) -> Any:
    """The value with the password of every URL hidden: those that are no secrets as a whole may carry one."""
    return _PASSWORD.sub(rf"\g<1>{HIDDEN}", value) if isinstance(value, str) else value


def every_setting() -> list[Setting]:
    """Settings that all services share, then those that each declares itself. Raises CommandError."""
    return [each for service in CLASSES for each in settings_of(service) if each.name in own(service)]


def own(service: str) -> frozenset[str]:
    """Names of the fields that the service's class declares itself."""
    return frozenset(CLASSES[service].__annotations__) & frozenset(CLASSES[service].model_fields)


def unknown() -> list[str]:
    """Variables of the environment and the file with the settings' prefix that nothing reads: mostly misspelt ones."""
    file = file_source(Settings)
    given = {name.upper() for name in (*os.environ, *(file.env_vars if file else ()))}
    known = {variable(name) for settings in CLASSES.values() for name in settings.model_fields} | set(OTHERS)
    return sorted(name for name in given - known if name.startswith(variable("")))
