"""Fixtures of tests in which several packages meet."""

from collections.abc import Iterator

import pytest
from tidemark.authority import Authority

from tests.integration.answering_api import Api, answering


@pytest.fixture
def api() -> Iterator[Api]:
    with answering() as server:
        yield server


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A fleet's own authority, with certificates of its parts on this machine."""
    made = Authority(tmp_path_factory.mktemp("secure"))
    made.issue(("127.0.0.1",))
    return made
