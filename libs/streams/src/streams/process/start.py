"""A process that cannot begin says why in one line, and ends."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pydantic import ValidationError
from pydantic_settings import SettingsError

from streams.process.settings_tree import SettingsTree, variable_at

_REASON: Final = "Value error, "
"""Pydantic's word before what a validator of ours says."""


@contextmanager
def starting(process: str, tree: type[SettingsTree]) -> Iterator[None]:
    """Around whatever reads settings and the files they name; the process ends with status 1 where one is wrong."""
    try:
        yield
    except ValidationError as refusal:
        sys.exit(f"{process} refuses its settings: {said(refusal, tree)}")
    except SettingsError as refusal:  # a value that is no JSON
        sys.exit(f"{process} cannot read its settings: {refusal}")
    except OSError as error:  # a file that is not there, or that is no certificate
        sys.exit(f"{process} cannot begin: {error}")


def said(refusal: ValidationError, tree: type[SettingsTree]) -> str:
    """Faults of the settings, by variable of the environment. Values are left out: one may be a secret."""
    errors = refusal.errors(include_input=False, include_url=False)
    return "; ".join(
        f"{variable_at(tree, each['loc']) if each['loc'] else refusal.title}: {each['msg'].removeprefix(_REASON)}"
        for each in errors
    )
