"""Quiet logs, and the README from which its reader works."""

import logging
import re
from pathlib import Path
from typing import NamedTuple

import pytest
import structlog

LIBRARY = Path(__file__).parents[2] / "libs/streams"


class Readme(NamedTuple):
    """The README's Python, the command lines of its ``sh`` blocks, and its table of the public interface."""

    program: str
    test: str
    commands: list[str]
    table: str


@pytest.fixture(autouse=True, scope="session")
def quiet_logs() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@pytest.fixture(scope="session")
def library() -> Path:
    """The folder that the package is built from."""
    return LIBRARY


@pytest.fixture(scope="session")
def readme() -> Readme:
    text = (LIBRARY / "README.md").read_text("utf-8")
    program, test = re.findall(r"```python\n(.*?)```", text, re.S)
    lines = "".join(re.findall(r"```sh\n(.*?)```", text, re.S)).splitlines()
    return Readme(
        program, test, [line.partition("#")[0].strip() for line in lines], text.partition("## What there is")[2]
    )
