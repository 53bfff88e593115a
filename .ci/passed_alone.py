"""A pytest plugin that leaves out what has just passed in the services' isolated runs, by their JUnit files.

    PYTHONPATH=.ci pytest -p passed_alone --passed-alone DIRECTORY

Only a case that such a file says passed is left out: one that failed, was skipped or is missing there runs.
"""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

Case = tuple[str, str]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--passed-alone", type=Path, help="leave out what passed in DIRECTORY/isolated-*.xml")


def passed(directory: Path) -> set[Case]:
    """(class name, name) of every case that passed, of whose entries none says otherwise."""
    good: set[Case] = set()
    bad: set[Case] = set()
    for file in directory.glob("isolated-*.xml"):
        for case in ET.parse(file).iter("testcase"):
            key = case.get("classname", ""), case.get("name", "")
            spoiled = {child.tag for child in case} & {"failure", "error", "skipped"}
            (bad if spoiled else good).add(key)
    return good - bad


def case_of(nodeid: str) -> Case:
    """The class name and name under which pytest's JUnit files keep a test."""
    address, bracket, parameters = nodeid.partition("[")
    file, *names = address.split("::")
    *classes, name = names
    return ".".join((file.removesuffix(".py").replace("/", "."), *classes)), name + bracket + parameters


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if (directory := config.getoption("passed_alone")) is None:
        return
    done = passed(directory)
    repeated = [item for item in items if case_of(item.nodeid) in done]
    if repeated:
        config.hook.pytest_deselected(items=repeated)
        items[:] = [item for item in items if case_of(item.nodeid) not in done]
