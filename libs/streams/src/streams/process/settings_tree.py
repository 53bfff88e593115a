"""A tree of settings. A variable is named by its setting's place: ``kafka.ca_file`` is TIDEMARK_KAFKA_CA_FILE.

Names are made from the tree, and never read back into it: ``_`` stands between the parts of a place and within them, so
that a name by itself does not tell where its setting is.
"""

import inspect
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

PREFIX: Final = "TIDEMARK_"
FILE_VARIABLE: Final = f"{PREFIX}SETTINGS_FILE"


class Nameless:
    """Marks a field, by ``Annotated``, that adds nothing to the name of a variable.

    So a setting is named as its group is (``feed.kind`` is TIDEMARK_FEED), and a group holds settings whose names do
    not begin with its own.
    """


NAMELESS: Final = Nameless()


class SettingsGroup(BaseModel):
    """Settings that belong together: a part of the tree, and a value to hand to the code that needs it.

    Every field of it has a default, so that a caller who makes one says as much as he wants to say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class Place:
    """Place of one setting: the ``path`` from the tree's root, and the models on the way, the root first."""

    path: tuple[str, ...]
    models: tuple[type[BaseModel], ...]
    variable: str
    field: FieldInfo

    @property
    def group(self) -> type[BaseModel]:
        """The model that has the field."""
        return self.models[-1]

    @property
    def declared(self) -> tuple[type[BaseModel], str]:
        """The class that declares the field, which may be a base of its group, and the field's name."""
        name = self.path[-1]
        return next(each for each in self.group.__mro__ if name in inspect.get_annotations(each)), name

    def value(self, settings: BaseModel) -> Any:
        """Raises AttributeError where the settings are those of another tree."""
        found: Any = settings
        for name in self.path:
            found = getattr(found, name)
        return found


def places(tree: type[BaseModel]) -> Iterator[Place]:
    """Every setting in the tree: those of a group stand together, where the group's field stands."""
    yield from _places((), (tree,), PREFIX)


def _places(path: tuple[str, ...], models: tuple[type[BaseModel], ...], beginning: str) -> Iterator[Place]:
    for name, field in models[-1].model_fields.items():
        variable = _extended(beginning, name, field)
        if (group := _group_of(field)) is not None:
            yield from _places((*path, name), (*models, group), variable)
        else:
            yield Place((*path, name), models, variable.removesuffix("_"), field)


def _extended(beginning: str, name: str, field: FieldInfo) -> str:
    """The beginning of the variables' names at a field, given the one above it; each ends in ``_``."""
    is_nameless = any(isinstance(mark, Nameless) for mark in field.metadata)
    return beginning if is_nameless else f"{beginning}{name.upper()}_"


def _group_of(field: FieldInfo) -> type[SettingsGroup] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, SettingsGroup) else None


def variable_at(tree: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """Name of the variable at a location that an error of pydantic's names; of a group the beginning, and ``*``."""
    model, beginning = tree, PREFIX
    for name in location:
        field = model.model_fields.get(str(name))
        if field is None:
            return ".".join(map(str, location))  # no setting of this tree
        beginning, group = _extended(beginning, str(name), field), _group_of(field)
        if group is None:
            return beginning.removesuffix("_")
        model = group
    return f"{beginning}*"


class TreeSource(EnvSettingsSource):
    """Looks every setting of the tree up in ``variables`` by the name of its place, in whatever case it is written."""

    def __init__(self, tree: type[BaseSettings], variables: Mapping[str, str | None]) -> None:
        super().__init__(tree)
        self.env_vars = {name.lower(): text for name, text in variables.items()}

    def text(self, place: Place) -> str | None:
        """As it is written; None where it is not there."""
        return self.env_vars.get(place.variable.lower())

    def __call__(self) -> dict[str, Any]:
        """Values by the tree's fields, a group's in a dict of its own, which is there even where it is empty: then the
        group's defaults are those of the moment. Raises SettingsError, which names the variable and no value.
        """
        values: dict[str, Any] = {}
        for place in places(self.settings_cls):
            within = values
            for name in place.path[:-1]:
                within = within.setdefault(name, {})
            text = self.text(place)
            if text is None or _has(self.current_state, place.path):
                continue  # what an earlier source says is whole: a dict of its is not filled up with this one's
            try:
                within[place.path[-1]] = self.prepare_field_value(place.path[-1], place.field, text, False)
            except ValueError:
                raise SettingsError(f"{place.variable} is no JSON") from None
        return values


def _has(values: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    """Whether there is a value at the place, or something that is no group on the way there."""
    within: Any = values
    for name in path:
        if not isinstance(within, Mapping):
            return True
        if name not in within:
            return False
        within = within[name]
    return True


class CallerSource(InitSettingsSource):
    """Values of the caller. Of a group they are those that he set: the rest of it is as the environment has it.

    What he gives by the name of a variable, without its prefix and in small letters, is put into its place: programs
    that were written when no setting had a group (releases up to 0.2) name them so.
    """

    def __call__(self) -> dict[str, Any]:
        said = {name: _said(value) for name, value in super().__call__().items()}
        flat = {
            place.variable.removeprefix(PREFIX).lower(): place.path
            for place in places(self.settings_cls)
            if len(place.path) > 1
        }
        moved = {name for name in said.keys() & flat if not self._is_group(name, said[name])}
        values = {name: value for name, value in said.items() if name not in moved}
        for name in moved:
            *above, last = flat[name]
            within = values
            for part in above:
                within = within.setdefault(part, {})
            within[last] = said[name]
        return values

    def _is_group(self, name: str, value: Any) -> bool:
        """``feed`` is a group's name and a variable's: a dict is the group."""
        return name in self.settings_cls.model_fields and isinstance(value, dict)


def _said(value: Any) -> Any:
    if isinstance(value, SettingsGroup):
        return {name: _said(getattr(value, name)) for name in value.model_fields_set}
    return {name: _said(each) for name, each in value.items()} if isinstance(value, dict) else value


def file_source(tree: type[BaseSettings]) -> TreeSource | None:
    """The file of settings, if one is named. Raises FileNotFoundError where it is not there."""
    name = os.environ.get(FILE_VARIABLE)
    if not name:
        return None
    if not Path(name).is_file():
        raise FileNotFoundError(f"{FILE_VARIABLE} names {name}, which is no file")
    return TreeSource(tree, DotEnvSettingsSource(tree, env_file=name, env_file_encoding="utf-8").env_vars)


class SettingsTree(BaseSettings):
    """Reads settings from the caller, the environment and the file that ``TIDEMARK_SETTINGS_FILE`` names.

    A class in which two places come to one name is refused with TypeError when it is defined.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        known: dict[str, Place] = {}
        for place in places(cls):
            other = known.setdefault(place.variable, place)
            if other is not place:
                both = " and ".join(".".join(each.path) for each in (other, place))
                raise TypeError(f"{cls.__name__}: {both} are both {place.variable}")

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Self:
        """Settings as these variables have them, and for what they do not say as always."""
        return cls(**TreeSource(cls, variables)())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order of precedence: the caller's values, the environment, the file; pydantic-settings calls this."""
        caller, environment = CallerSource(settings_cls, init_settings()), TreeSource(settings_cls, os.environ)
        file = file_source(settings_cls)
        return (caller, environment) if file is None else (caller, environment, file)
